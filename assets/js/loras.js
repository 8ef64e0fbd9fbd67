// @ts-check
// LoRAs: the strip under the prompt. The form's hidden field "loras" has the value
// (workflow/loras/lora_values.py); everything here is drawn from it.
"use strict";
(() => {
  const { $, $$, make, toast } = window.comfy.kit;
  const { modelTitle, modelPicture, modelList, shortName } = window.comfy.models;
  const FOLDER = "loras";
  const MOST = 20;
  const MAX_WEIGHT = 20;

  /**
   * @typedef {{ name: string, strength: number, strength_clip?: number, enabled?: boolean }} Lora
   */

  /** What the server has; null before it was asked. @returns {ModelFile[] | null} */
  const known = () => modelList(FOLDER);
  const field = () => $("form.settings .field.loras input");
  /** The preset's model family, empty if unknown; undefined if it takes no LoRAs. @returns {string | undefined} */
  const family = () => field()?.closest(".loras").dataset.family;
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
    const same = (/** @type {(text: string) => string} */ of) => known()?.filter((one) => of(one.name) === of(name)) ?? [];
    for (const of of [(text) => text, (text) => text.replaceAll("\\", "/"), shortName, (text) => shortName(text).toLowerCase()]) {
      const matches = same(of);
      if (matches.length === 1) return matches[0];
    }
    return undefined;
  }
  const fits = (/** @type {ModelFile} */ one) => !one.family || !family() || one.family === family();

  // ---- the strip -----------------------------------------------------------------------------

  /** What the strip shows, to draw it only when that changes. */
  let shown = "";
  function draw() {
    const strip = $(".lora-strip");
    if (!strip) return;
    strip.hidden = !field() || family() === undefined;
    if (strip.hidden) return void (shown = "");
    const loras = chosen();
    if (loras.length && !known()) window.comfy.models.ask(FOLDER);
    const now = JSON.stringify([loras.map(({ name }) => name), known() && loras.map(({ name }) => find(name)), family()]);
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
    const title = modelTitle(one ?? { name: lora.name, title: "" });
    const face = modelPicture(FOLDER, title, one?.name);
    const name = make("span", { id: `lora-name-${at}`, className: "lora-name", textContent: title, title: lora.name, translate: false });
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
      "div", { className: "lora", role: "group" },
      face,
      make("div", { className: "lora-head" }, name, make("label", { className: "switch" }, on), remove),
      make("div", { className: "lora-weight" }, slider, weight, clip),
      note && make("p", { className: "lora-note", textContent: note }),
      words.length ? make("div", { className: "lora-words", role: "group", ariaLabel: "Trigger words" }, ...words) : null,
    );
    element.dataset.at = String(at);
    element.setAttribute("aria-labelledby", name.id);
    return element;
  }
  /** @param {ModelFile | undefined} one */
  function problem(one) {
    if (!known()) return "";
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

  window.comfy.outlineLora = (name) => {
    const at = name ? chosen().findIndex((lora) => lora.name === name) : -1;
    $$(".lora").forEach((element, index) => element.classList.toggle("wrong", index === at));
    const box = $("#prompt textarea");
    if (name && at < 0) box?.setAttribute("aria-invalid", "true");
    else box?.removeAttribute("aria-invalid");
    if (at >= 0) $(".lora.wrong").scrollIntoView({ block: "nearest" });
  };

  // ---- adding ---------------------------------------------------------------------------------

  window.comfy.actions.loras = () =>
    window.comfy.browseModels({
      title: "LoRAs",
      folder: FOLDER,
      family: family() ?? "",
      chosen: () => chosen().map((lora) => find(lora.name)?.name ?? lora.name),
      pick: toggle,
      closed: () => $(".lora-add")?.focus(),
    });
  /** @param {ModelFile} one */
  function toggle(one) {
    const loras = chosen();
    const rest = loras.filter((lora) => find(lora.name)?.name !== one.name);
    if (rest.length === loras.length && loras.length >= MOST) return toast(`A job can have ${MOST} LoRAs`);
    choose(rest.length < loras.length ? rest : [...loras, { name: one.name, strength: one.weight ?? 1 }]);
  }

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (event.target === field() || event.target.closest?.("#prompt")) window.comfy.outlineLora("");
    if (event.target === field()) draw();
    else if (event.target.closest?.("#prompt") && $(".lora-word")) update($(".lora-strip"), chosen());
  });
  window.comfy.onIsland(() => draw());
  window.comfy.models.onList((folder) => folder === FOLDER && draw());
})();
