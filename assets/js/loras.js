// @ts-check
// LoRAs: the strip under the prompt, and the browser to add some. The form's hidden field "loras" has the value
// (workflow/loras/lora_values.py); everything here is drawn from it.
"use strict";
(() => {
  const { $, $$, make, dialog, post, toast } = window.comfy.kit;
  const MOST = 20;
  const POLL_MS = 1500;
  const MAX_WEIGHT = 20;

  /**
   * @typedef {{ name: string, strength: number, strength_clip?: number, enabled?: boolean }} Lora
   * @typedef {{ name: string, title: string, family: string, base: string, words: string[], weight: number | null, favorite: boolean }} Known
   */

  /** What the server has; null before it was asked. @type {Known[] | null} */
  let known = null;
  const field = () => $("form.settings .field.loras input");
  /** The preset's model family, empty if unknown; undefined if it takes no LoRAs. @returns {string | undefined} */
  const family = () => field()?.closest(".loras").dataset.family;
  /** @param {string} name */
  const short = (name) => name.replace(/^.*[\\/]/, "").replace(/\.(safetensors|sft|ckpt|pt|bin)$/i, "");
  /** @param {string} name */
  const spaced = (name) => short(name).replace(/[_]+/g, " ");
  /** @param {string} name */
  const picture = (name) => `loras/preview?${new URLSearchParams({ name })}`;

  /** @returns {Lora[]} */
  function chosen() {
    try {
      return JSON.parse(field()?.value || "[]");
    } catch {
      return [];
    }
  }
  /** @param {Lora[]} loras */
  function choose(loras) {
    const input = field();
    if (!input) return;
    input.value = loras.length ? JSON.stringify(loras) : "";
    input.dispatchEvent(new Event("input", { bubbles: true })); // keeps the draft
  }
  /** The server's file that a name means, which may lack folder and ending. @param {string} name */
  function find(name) {
    const same = (/** @type {(text: string) => string} */ of) => known?.filter((one) => of(one.name) === of(name)) ?? [];
    for (const of of [(text) => text, (text) => text.replaceAll("\\", "/"), short, (text) => short(text).toLowerCase()]) {
      const matches = same(of);
      if (matches.length === 1) return matches[0];
    }
    return undefined;
  }
  /** Whether a LoRA may work with the preset's models. @param {Known} one */
  const fits = (one) => !one.family || !family() || one.family === family();

  /** @type {Promise<unknown> | undefined} */
  let asking;
  /** Ask the server for its LoRAs, again while it still reads their files. */
  function ask() {
    asking ??= (async () => {
      for (let again = 0; again < 40; again++) {
        const answer = await fetch("loras").catch(() => null);
        if (!answer?.ok) return;
        const { loras, complete } = await answer.json();
        known = loras;
        draw();
        fillBrowser();
        if (complete) return;
        await new Promise((done) => setTimeout(done, POLL_MS));
      }
    })().finally(() => (asking = undefined));
  }

  // ---- the strip -----------------------------------------------------------------------------

  /** What the strip shows, to draw it only when that changes. */
  let shown = "";
  function draw() {
    const strip = $(".lora-strip");
    if (!strip) return;
    strip.hidden = !field() || family() === undefined;
    if (strip.hidden) return void (shown = "");
    const loras = chosen();
    if (loras.length && !known) ask();
    const now = JSON.stringify([loras.map(({ name }) => name), known && loras.map(({ name }) => find(name)), family()]);
    if (now === shown && strip.childElementCount) return update(strip, loras);
    shown = now;
    const place = document.activeElement?.closest?.(".lora")?.getAttribute("data-at");
    const control = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.part;
    const add = make("button", { type: "button", className: "act lora-add", textContent: loras.length ? "Add LoRA" : "LoRA" });
    add.dataset.do = "loras";
    strip.replaceChildren(...loras.map((lora, at) => chip(lora, at)), add);
    update(strip, loras);
    if (place && control) $(`.lora[data-at="${place}"] [data-part="${control}"]`, strip)?.focus();
  }
  /**
   * @param {Lora} lora
   * @param {number} at
   */
  function chip(lora, at) {
    const one = find(lora.name);
    const title = one?.title || spaced(lora.name);
    const face = make("span", { className: "lora-face", ariaHidden: "true" }, make("b", { textContent: title.slice(0, 1).toUpperCase() }));
    if (one) face.append(make("img", { src: picture(one.name), alt: "", loading: "lazy" }));
    const name = make("span", { className: "lora-name", textContent: title, title: lora.name, translate: false });
    const on = make("input", { type: "checkbox", role: "switch", ariaLabel: `Use ${title}` });
    const weight = make("input", { type: "number", step: "0.05", min: -MAX_WEIGHT, max: MAX_WEIGHT, ariaLabel: `Weight of ${title}`, inputMode: "decimal" });
    const slider = make("input", { type: "range", step: "0.05", min: -1, max: 2, ariaLabel: `Weight of ${title}, slider` });
    const remove = make("button", { type: "button", className: "tool", ariaLabel: `Remove ${title}`, title: "Remove", innerHTML: "&times;" });
    for (const [part, control] of Object.entries({ on, weight, slider, remove })) control.dataset.part = part;
    const clip = lora.strength_clip === undefined ? null : make("input", { type: "number", step: "0.05", min: -MAX_WEIGHT, max: MAX_WEIGHT, ariaLabel: `CLIP weight of ${title}`, title: "CLIP weight" });
    if (clip) clip.dataset.part = "clip";
    const words = (one?.words ?? []).map((word) => {
      const button = make("button", { type: "button", className: "lora-word", textContent: word, translate: false, title: "Add to the prompt, or remove" });
      button.onclick = () => toggleWord(word);
      return button;
    });
    const note = problem(one);
    const change = (/** @type {Partial<Lora>} */ values) => choose(chosen().map((other, index) => (index === at ? { ...other, ...values } : other)));
    on.onchange = () => change({ enabled: on.checked ? undefined : false });
    slider.oninput = () => change({ strength: Number(slider.value) });
    weight.onchange = () => change({ strength: bounded(weight.value) });
    if (clip) clip.onchange = () => change({ strength_clip: bounded(clip.value) });
    remove.onclick = () => {
      const rest = chosen().filter((_, index) => index !== at);
      choose(rest);
      ($(`.lora[data-at="${Math.min(at, rest.length - 1)}"] [data-part=remove]`) ?? $(".lora-add"))?.focus();
    };
    const element = make(
      "div", { className: "lora", role: "group", ariaLabel: title },
      face,
      make("div", { className: "lora-head" }, name, make("label", { className: "switch" }, on), remove),
      make("div", { className: "lora-weight" }, slider, weight, clip),
      note && make("p", { className: "lora-note", textContent: note }),
      words.length ? make("div", { className: "lora-words", role: "group", ariaLabel: "Trigger words" }, ...words) : null,
    );
    element.dataset.at = String(at);
    return element;
  }
  /** @param {Known | undefined} one */
  function problem(one) {
    if (!known) return "";
    if (!one) return "Not on the server";
    return fits(one) ? "" : `Made for ${one.family}`;
  }
  /** @param {string} text */
  function bounded(text) {
    const number = Number(text.replace(",", "."));
    return Number.isFinite(number) ? Math.max(-MAX_WEIGHT, Math.min(MAX_WEIGHT, number)) : 1;
  }
  /**
   * Show the values in the chips that are there: focus and a drag continue.
   * @param {AnyElement} strip
   * @param {Lora[]} loras
   */
  function update(strip, loras) {
    const prompt = $("#prompt textarea")?.value.toLowerCase() ?? "";
    $$(".lora", strip).forEach((element, at) => {
      const lora = loras[at];
      const [on, weight, slider, clip] = ["on", "weight", "slider", "clip"].map((part) => $(`[data-part=${part}]`, element));
      on.checked = lora.enabled !== false;
      element.classList.toggle("off", !on.checked);
      if (document.activeElement !== weight || Number(weight.value) !== lora.strength) weight.value = String(lora.strength);
      if (clip) clip.value = String(lora.strength_clip);
      slider.value = String(lora.strength);
      slider.style.setProperty("--part", `${(100 * (Number(slider.value) + 1)) / 3}%`);
      for (const word of $$(".lora-word", element)) word.setAttribute("aria-pressed", String(prompt.includes(word.textContent.toLowerCase())));
    });
  }
  /** Put a trigger word into the prompt, or take it out. @param {string} word */
  function toggleWord(word) {
    const box = $("#prompt textarea");
    if (!box) return;
    const place = box.value.toLowerCase().indexOf(word.toLowerCase());
    if (place < 0) {
      const text = box.value.trimEnd();
      box.value = text + (text && !text.endsWith(",") ? ", " : text ? " " : "") + word;
    } else {
      const [before, after] = [box.value.slice(0, place), box.value.slice(place + word.length)];
      box.value = /,\s*$/.test(before) ? before.replace(/,\s*$/, "") + after : before + after.replace(/^\s*,\s*/, "");
    }
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // ---- the browser ---------------------------------------------------------------------------

  let showsAll = false;
  let fillBrowser = () => {};
  window.comfy.actions.loras = () => {
    showsAll = false;
    const search = make("input", { type: "search", placeholder: "Search LoRAs", ariaLabel: "Search LoRAs" });
    const grid = make("div", { className: "lora-grid", role: "group", ariaLabel: "LoRAs" });
    const others = make("button", { type: "button", className: "act" });
    const note = make("p", { className: "quiet", role: "status" });
    const opened = dialog("loras", "LoRAs", make("h2", { textContent: "LoRAs" }), search, grid, make("div", { className: "lora-foot" }, note, others));
    const close = opened.onclose;
    opened.onclose = (event) => {
      fillBrowser = () => {};
      close.call(opened, event);
      $(".lora-add")?.focus();
    };
    fillBrowser = () => fill(grid, note, others, search.value);
    search.oninput = () => fillBrowser();
    others.onclick = () => {
      showsAll = !showsAll;
      fillBrowser();
    };
    grid.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => walk(event, grid));
    ask();
    fillBrowser();
    search.focus();
  };
  /**
   * @param {AnyElement} grid
   * @param {AnyElement} note
   * @param {AnyElement} others the button for LoRAs of other families
   * @param {string} text
   */
  function fill(grid, note, others, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (known ?? []).filter((one) => words.every((word) => `${one.name} ${one.title} ${one.base} ${one.family} ${one.words.join(" ")}`.toLowerCase().includes(word)));
    const rank = (/** @type {Known} */ one) => (one.favorite ? 0 : one.family === family() ? 1 : fits(one) ? 2 : 3);
    const listed = matches.filter((one) => showsAll || fits(one) || one.favorite);
    listed.sort((a, b) => rank(a) - rank(b) || spaced(a.name).localeCompare(spaced(b.name)));
    const hiddenCount = matches.length - listed.length;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset;
    grid.replaceChildren(...listed.map((one) => card(one)));
    if (focused?.lora) $$("[data-lora]", grid).find((one) => one.dataset.lora === focused.lora && one.className.split(" ")[0] === focused.kind)?.focus();
    others.hidden = !hiddenCount && !showsAll;
    others.textContent = showsAll ? "Only those that fit" : `Show all (${hiddenCount} more)`;
    note.textContent = known === null ? "Loading…" : listed.length ? "" : !known.length ? "The server has no LoRAs. Put them into its folder models/loras." : "No LoRA matches.";
  }
  /** @param {Known} one */
  function card(one) {
    const title = one.title || spaced(one.name);
    const pick = make(
      "button", { type: "button", className: "lora-pick", title: one.name },
      make("span", { className: "lora-face", ariaHidden: "true" }, make("b", { textContent: title.slice(0, 1).toUpperCase() }), make("img", { src: picture(one.name), alt: "", loading: "lazy" })),
      make("span", { className: "lora-title", textContent: title, translate: false }),
      make("span", { className: "quiet", textContent: one.family || "Unknown family" }),
    );
    const pressed = chosen().some((lora) => find(lora.name)?.name === one.name);
    pick.setAttribute("aria-pressed", String(pressed));
    pick.onclick = () => toggle(one);
    const star = make("button", { type: "button", className: "lora-star", ariaLabel: `Favorite: ${title}`, textContent: one.favorite ? "★" : "☆" });
    star.setAttribute("aria-pressed", String(one.favorite));
    star.onclick = async () => {
      const answer = await post("loras/favorite", { name: one.name, marked: !one.favorite });
      if (answer) one.favorite = answer.marked;
      fillBrowser();
    };
    for (const button of [pick, star]) Object.assign(button.dataset, { lora: one.name, kind: button.className });
    return make("div", { className: "lora-card" }, pick, star);
  }
  /** @param {Known} one */
  function toggle(one) {
    const loras = chosen();
    const rest = loras.filter((lora) => find(lora.name)?.name !== one.name);
    if (rest.length === loras.length && loras.length >= MOST) return toast(`A job can have ${MOST} LoRAs`);
    choose(rest.length < loras.length ? rest : [...loras, { name: one.name, strength: one.weight ?? 1 }]);
    fillBrowser();
  }
  /**
   * @param {On<KeyboardEvent>} event
   * @param {AnyElement} grid
   */
  function walk(event, grid) {
    const picks = $$(".lora-pick", grid);
    const at = picks.indexOf(event.target);
    if (at < 0) return;
    const columns = picks.filter((pick) => pick.getBoundingClientRect().top === picks[0].getBoundingClientRect().top).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!step || !picks[at + step]) return;
    event.preventDefault();
    picks[at + step].focus();
  }

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (event.target === field()) draw();
    else if (event.target.closest?.("#prompt") && $(".lora-word")) update($(".lora-strip"), chosen());
  });
  window.comfy.onIsland(() => draw());
})();
