// @ts-check
// The result viewer, the comparison of two images, and the actions on results that Create and
// Library share.
"use strict";
(() => {
  const { $, $$, make, draw, dialog, recall, toast, post } = window.comfy.kit;

  /**
   * The result in the viewer. Not its thumbnail: the page may be redrawn under an open viewer.
   * `copy` stands for a result that is in no list, such as the original of a variation.
   * @type {{ id: string | null, island: AnyElement, copy?: AnyElement }}
   */
  let shown = { id: null, island: null };
  const ZOOM_STEP = 1.4;
  const SEAM_PX = 28; // so near the divider, a drag moves it
  /** Of the image in the viewer. */
  let zoom = { /** @param {number} _factor */ zoomBy(_factor) {}, toggle() {}, reset() {} };
  /** The first of two images to compare, until the second is chosen. @type {AnyElement} */
  let rival = null;

  const shownThumb = () => (shown.island && $(`[data-open="${shown.id}"]`, shown.island)) ?? shown.copy;
  const shelf = (thumb) => (thumb?.closest(".island") ? $$("[data-open]", thumb.closest(".island")) : []);
  const starred = (thumb) => {
    const mark = thumb.closest(".tile") && $(".mark-star", thumb.closest(".tile"));
    return mark ? mark.ariaPressed === "true" : thumb.dataset.starred === "true";
  };

  function media({ open: item, kind, src, name, promptText }) {
    const label = promptText || name;
    if (kind === "video") return window.comfy.withStrip(item, make("video", { src, controls: true, autoplay: true, loop: true, muted: true, playsInline: true, ariaLabel: label }));
    if (kind === "audio") return window.comfy.soundPlayer(item, label);
    if (kind === "3d" && name.endsWith(".glb")) return window.comfy.turntable(item, label);
    if (kind !== "image") {
      const why = make("p", { className: "quiet", textContent: "Files of this format have no preview here. Download it to open it." });
      return make("div", { className: "message" }, make("p", { textContent: name, translate: false }), why);
    }
    return make("img", { src, alt: label, translate: false, draggable: false, onload: () => zoom.reset() });
  }

  /** Opens a result where its thumbnail was pressed: on Create on the stage. @param {AnyElement} thumb */
  function open(thumb) {
    if (rival && rival !== thumb) compare(rival, thumb);
    else if (thumb.closest("#create")) window.comfy.showResult(thumb);
    else view(thumb);
  }

  /** Opens the viewer. @param {AnyElement} thumb */
  function view(thumb) {
    if (thumb.closest("#stage-area")) thumb = inRow(thumb.dataset.open) ?? thumb;
    const id = thumb.dataset.open;
    shown = { id, island: thumb.closest(".island"), copy: thumb.cloneNode() };
    const box = $("#viewer[open]") ?? openViewer();
    const all = shelf(thumb);
    const at = all.indexOf(thumb);
    box.ariaLabel = `Result: ${thumb.dataset.name}`;
    box.dataset.item = id;
    const canvas = $(".canvas", box);
    canvas.classList.toggle("image", thumb.dataset.kind === "image");
    canvas.replaceChildren(media(thumb.dataset));
    zoom.reset();
    const about = $(".about-it", box);
    about.replaceChildren(make("p", { className: "quiet", translate: false, textContent: thumb.dataset.promptText || thumb.dataset.name }));
    $(".step-back", box).disabled = at <= 0;
    $(".step-on", box).disabled = at >= all.length - 1;
    fetch(`library/${id}`)
      .then((answer) => (answer.ok ? answer.text() : Promise.reject()))
      .then((html) => {
        if (shown.id !== id) return;
        about.innerHTML = html;
        for (const time of $$("time[data-at]", about)) time.textContent = new Date(time.dataset.at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      })
      .catch(() => shown.id === id && about.append(make("p", { className: "quiet", textContent: "This result was deleted, or the connection is lost." })));
    window.comfy.library?.nearEnd(thumb);
  }

  function openViewer() {
    const step = (by, label, className) => make("button", { type: "button", className: `tool ${className}`, ariaLabel: label, title: label, textContent: by < 0 ? "‹" : "›", onclick: () => move(by) });
    const tool = (text, label, onclick) => make("button", { type: "button", className: "tool", ariaLabel: label, title: label, textContent: text, onclick });
    const percent = tool("", "Actual size (0)", () => zoom.toggle());
    const tools = make("div", { className: "zoom-tools" }, tool("−", "Zoom out (−)", () => zoom.zoomBy(1 / ZOOM_STEP)), percent, tool("+", "Zoom in (+)", () => zoom.zoomBy(ZOOM_STEP)), tool("", "Full screen (F)", fullScreen));
    tools.lastElementChild.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/></svg>';
    const canvas = make("div", { className: "canvas", tabIndex: -1 }); // it keeps the focus, and with it the keys, when it is pressed
    const box = dialog(
      "viewer", "Result",
      make("div", { className: "canvas-side" }, canvas, step(-1, "Previous (←)", "step-back"), step(1, "Next (→)", "step-on"), tools),
      make("div", { className: "about-it" }),
    );
    zoom = window.comfy.zoomable(canvas, { swiped: move, clicks: true });
    canvas.addEventListener("zoom", (event) => (percent.textContent = `${event.detail}%`));
    box.addEventListener("close", () => {
      const thumb = shownThumb();
      thumb?.focus();
      if (thumb?.closest("#create")) window.comfy.showResult(thumb);
      shown = { id: null, island: null };
    });
    box.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => keys(event, shownThumb()) && event.preventDefault());
    return box;
  }
  const sideways = () => $("#viewer .canvas-side");
  function fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else sideways()?.requestFullscreen?.().catch(() => toast("This browser has no full screen"));
  }
  function move(by) {
    const all = shelf(shownThumb());
    const next = all[all.indexOf(shownThumb()) + by];
    if (next) view(next);
  }

  /**
   * Handle a key that means the same in the viewer and in a list of results.
   * @param {On<KeyboardEvent>} event
   * @param {AnyElement} thumb
   * @returns {boolean} whether the key was one of them
   */
  function keys(event, thumb) {
    if (event.ctrlKey || event.metaKey || event.altKey || !thumb) return false;
    if (/^(INPUT|TEXTAREA|SELECT|VIDEO|AUDIO)$/.test(event.target.tagName)) return false;
    const step = thumb === shownThumb() ? { ArrowLeft: -1, ArrowRight: 1 }[event.key] : undefined;
    if (step) return move(step), true;
    const zooms = thumb === shownThumb() && { "+": ZOOM_STEP, "=": ZOOM_STEP, "-": 1 / ZOOM_STEP }[event.key];
    if (zooms) return zoom.zoomBy(zooms), true;
    if (thumb === shownThumb() && event.key === "0") return zoom.toggle(), true;
    if (thumb === shownThumb() && event.key === "f") return fullScreen(), true;
    const what = { a: "all", s: "seed", p: "prompt", r: "remix" }[event.key.toLowerCase()];
    if (what && !event.shiftKey) return take(thumb, what), true;
    if (/^[1-5]$/.test(event.key)) return window.comfy.rate([thumb], Number(event.key)), true;
    if (event.key === ".") return star([thumb], !starred(thumb)), true;
    if (event.key === "Delete" || event.key === "Backspace") return drop([thumb]), true;
    return false;
  }

  function take(thumb, what) {
    $("#viewer")?.close();
    recall({ item: thumb.dataset.open, what });
  }

  /** The results, and the groups that they are the covers of. */
  const those = (thumbs) => ({
    ids: thumbs.map((thumb) => Number(thumb.dataset.open)),
    groups: thumbs.map((thumb) => thumb.closest(".tile.folded")?.dataset.group).filter(Boolean),
  });

  /**
   * @param {AnyElement[]} thumbs
   * @param {boolean} on
   */
  async function star(thumbs, on) {
    if (!(await post("library/star", { ...those(thumbs), starred: on }))) return;
    for (const thumb of thumbs) {
      for (const same of $$(`[data-open="${thumb.dataset.open}"]`)) {
        $(".mark-star", same.closest(".tile") ?? same)?.setAttribute("aria-pressed", String(on));
        if (on) same.dataset.starred = "true";
        else delete same.dataset.starred;
      }
      $(`#stage-area [data-do=star-result][data-item="${thumb.dataset.open}"]`)?.setAttribute("aria-pressed", String(on));
      if (thumb.dataset.open === shown.id) $("#viewer [data-do=star-shown]")?.setAttribute("aria-pressed", String(on));
    }
  }

  /** Delete results; Undo puts them back where they were. @param {AnyElement[]} thumbs */
  async function drop(thumbs) {
    const done = await post("library/delete", those(thumbs));
    if (!done) return;
    const places = thumbs.map((thumb) => {
      const tile = thumb.closest(".tile") ?? thumb;
      return { tile, parent: tile.parentElement, next: tile.nextSibling };
    });
    const all = shelf(thumbs[0]);
    const heir = all.slice(all.indexOf(thumbs.at(-1)) + 1)[0] ?? all.slice(0, all.indexOf(thumbs[0])).at(-1);
    for (const { tile } of places) tile.remove();
    if (done.ids.includes(Number(shown.id))) heir ? view(heir) : $("#viewer").close();
    else heir?.focus();
    window.comfy.library?.changed();
    window.comfy.refreshStage();
    toast(done.ids.length === 1 ? "Deleted" : `${done.ids.length} deleted`, "Undo", async () => {
      if (!(await post("library/restore", { ids: done.ids }))) return;
      for (const { tile, parent, next } of places.reverse()) parent?.insertBefore(tile, next?.parentElement === parent ? next : null);
      window.comfy.library?.changed();
      window.comfy.refreshStage();
      thumbs[0].focus();
    });
  }

  // ---- comparison of two images ---------------------------------------------------------

  function compare(a, b) {
    rival = null;
    document.body.classList.remove("comparing");
    $("#viewer")?.close();
    const pair = make("div", { className: "pair" });
    pair.style.setProperty("--at", "50%");
    /** Width / height of the images that have loaded. @type {number[]} */
    const ratios = [];
    const at = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, ariaLabel: "Divider between the images" });
    at.oninput = () => pair.style.setProperty("--at", `${at.value}%`);
    const side = (thumb, letter) => {
      const image = make("img", { src: thumb.dataset.src, alt: `${letter}: ${thumb.dataset.promptText || thumb.dataset.name}`, draggable: false, translate: false });
      image.onload = () => {
        ratios.push(image.naturalWidth / image.naturalHeight || 1);
        pair.style.setProperty("--widest", String(Math.max(...ratios)));
        pair.style.setProperty("--narrowest", String(Math.min(...ratios)));
      };
      return make("div", { className: `layer ${letter.toLowerCase()}` }, image);
    };
    pair.append(side(a, "A"), side(b, "B"), make("i", { className: "seam" }), make("span", { className: "letter a", textContent: "A" }), make("span", { className: "letter b", textContent: "B" }), at);
    let dragged = false; // the divider; on a zoomed pair other drags pan
    const nearSeam = (event) => {
      const { left, width } = pair.getBoundingClientRect();
      return Math.abs(event.clientX - left - (width * at.value) / 100) < SEAM_PX;
    };
    const zoomed = () => pair.classList.contains("zoomed");
    window.comfy.zoomable(pair, { drags: (event) => (dragged = !zoomed() || nearSeam(event)) && (zoomed() || event.pointerType !== "touch") });
    const follow = (event) => {
      if (event.type === "pointermove" && !event.buttons && (event.pointerType !== "mouse" || zoomed())) return;
      if (!event.isPrimary || (event.buttons && zoomed() && !dragged)) return;
      const { left, width } = pair.getBoundingClientRect();
      at.value = Math.min(100, Math.max(0, (100 * (event.clientX - left)) / width));
      at.oninput();
    };
    pair.onpointermove = follow;
    pair.onpointerdown = follow;
    const about = make("div", { className: "about-both" });
    const box = dialog("compare", "Two images compared", pair, about);
    fetch(`library/compare?a=${a.dataset.open}&b=${b.dataset.open}`)
      .then((answer) => (answer.ok ? answer.text() : Promise.reject()))
      .then((html) => draw(about, html))
      .catch(() => about.replaceChildren(make("p", { className: "quiet", textContent: "This result was deleted, or the connection is lost." })));
    box.addEventListener("close", () => a.focus());
    at.focus();
  }
  function chooseRival(thumb) {
    rival = thumb;
    $("#viewer")?.close();
    document.body.classList.add("comparing");
    toast("Choose the image to compare it with", "Cancel", noRival);
  }
  function noRival() {
    rival = null;
    document.body.classList.remove("comparing");
  }

  /** The thumbnail in the row below the stage, which has the newest results. */
  const inRow = (id) => $(`#results .thumb[data-open="${id}"]`);
  const onStage = (button) => inRow(button.dataset.item) ?? button.closest(".stage").querySelector("[data-open]");
  const batch = (button) => $$(".cell", button.closest(".stage"));

  Object.assign(window.comfy.actions, {
    "star-result": (button) => star([onStage(button)], button.ariaPressed !== "true"),
    "compare-result": (button) => chooseRival(onStage(button)),
    "delete-result": (button) => drop([onStage(button)]),
    "star-batch": async (button) => {
      const on = button.ariaPressed !== "true";
      await star(batch(button), on);
      button.setAttribute("aria-pressed", String(on));
    },
    "compare-batch": (button) => compare(batch(button)[0], batch(button)[1]),
    "delete-batch": (button) => drop(batch(button)),
    recall: (button) => take(shownThumb(), button.dataset.what),
    "star-shown": () => star([shownThumb()], !($("#viewer [data-do=star-shown]").ariaPressed === "true")),
    "delete-shown": () => drop([shownThumb()]),
    "compare-shown": () => chooseRival(shownThumb()),
  });
  addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => event.key === "Escape" && rival && noRival());
  Object.assign(window.comfy, { open, view, compare, star, drop, keys, starred, shownThumb, those });
})();
