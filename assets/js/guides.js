// @ts-check
// ControlNets and reference images: strips of cards under the prompt. The form's hidden fields have the values
// (workflow/conditioning/*_values.py); everything here is drawn from them.
"use strict";
(() => {
  const { $, $$, make, toast } = window.comfy.kit;
  const { shortName } = window.comfy.models;
  const MOST = 8;

  /**
   * @typedef {{ image: string, strength: number, enabled?: boolean, type?: string, model?: string, start?: number,
   *   end?: number, preprocessed?: boolean, kind?: string }} Guide
   * @typedef {{ name: string, title: string, lacks: string, prepares: boolean }} GuideType
   * @typedef {{ types?: GuideType[], models?: string[], patches?: string[], folder?: string, family?: string, weighted?: boolean, kinds?: boolean, most?: number }} Facts
   * @typedef {{ name: string, noun: string, adds: string, max: number, weighted: (facts: Facts) => boolean, body: (guide: Guide, at: number, facts: Facts) => AnyElement[] }} Strip
   */

  /** @type {Strip[]} */
  const STRIPS = [
    { name: "controlnets", noun: "ControlNet", adds: "Add ControlNet", max: 2, weighted: () => true, body: controls },
    { name: "references", noun: "Reference", adds: "Add reference", max: 2, weighted: (facts) => Boolean(facts.weighted), body: kinds },
  ];
  const KINDS = { image: "Whole image", style: "Style", character: "Character" };

  const field = (/** @type {string} */ name) => $(`form.settings .field.${name} input`);
  /** What the preset's model takes; null if nothing. @param {string} name @returns {Facts | null} */
  function factsOf(name) {
    const text = field(name)?.closest(`.${name}`).dataset.guide;
    return text ? JSON.parse(text) : null;
  }
  /** @param {string} name @returns {Guide[]} */
  function chosen(name) {
    try {
      return JSON.parse(field(name)?.value || "[]");
    } catch {
      return [];
    }
  }
  /** @param {string} name @param {Guide[]} guides */
  function choose(name, guides) {
    const input = field(name);
    if (!input) return;
    input.value = guides.length ? JSON.stringify(guides) : "";
    input.dispatchEvent(new Event("input", { bubbles: true })); // keeps the draft
  }
  /** @param {string} name @param {number} at @param {Partial<Guide>} values */
  function change(name, at, values) {
    choose(name, chosen(name).map((guide, index) => (index === at ? { ...guide, ...values } : guide)));
  }

  // ---- pictures ------------------------------------------------------------------------------

  /** Upload a picture and return its name; undefined after an error. @param {File} file */
  async function upload(file) {
    try {
      const answer = await fetch("uploads?role=image", { method: "POST", body: file });
      const uploaded = await answer.json();
      if (answer.ok) return uploaded.name;
      toast(uploaded.error);
    } catch {
      toast("The image could not be sent");
    }
  }
  /** @param {string} name @param {Iterable<File>} files */
  async function add(name, files) {
    for (const file of files) {
      const most = factsOf(name)?.most ?? MOST;
      if (chosen(name).length >= most) return toast(`No more than ${most} here`);
      const image = await upload(file);
      const type = name === "controlnets" ? { type: factsOf(name)?.types?.[0].name } : {};
      if (image) choose(name, [...chosen(name), { image, ...type, strength: 1 }]);
    }
  }
  /** @param {(files: File[]) => unknown} then @param {boolean} [multiple] */
  function pick(then, multiple = false) {
    const input = make("input", { type: "file", accept: "image/*", multiple });
    input.onchange = () => then([...input.files]);
    input.click();
  }

  // ---- previews of prepared pictures ---------------------------------------------------------

  /** By type and picture. @type {Map<string, { url?: string, stop?: AbortController }>} */
  const previews = new Map();
  const previewKey = (/** @type {Guide} */ guide) => `${guide.type} ${guide.image}`;
  /** Have ComfyUI prepare the picture, or stop it. @param {Guide} guide */
  async function preview(guide) {
    const key = previewKey(guide);
    const running = previews.get(key)?.stop;
    if (running) return running.abort();
    const stop = new AbortController();
    previews.set(key, { stop });
    draw();
    try {
      const data = JSON.stringify({ image: guide.image, type: guide.type });
      const answer = await fetch("create/preprocess", { method: "POST", body: data, signal: stop.signal, headers: { "Content-Type": "application/json" } });
      if (!answer.ok) throw new Error((await answer.json()).error);
      previews.set(key, { url: URL.createObjectURL(await answer.blob()) });
    } catch (error) {
      previews.delete(key);
      if (!stop.signal.aborted) toast(error instanceof Error ? error.message : String(error));
    }
    draw();
  }

  // ---- the strips ----------------------------------------------------------------------------

  /** What each strip shows, to draw it only when that changes. @type {Record<string, string>} */
  const shown = {};
  function draw() {
    for (const strip of STRIPS) drawStrip(strip);
  }
  /** @param {Strip} strip */
  function drawStrip(strip) {
    const { name, noun, adds } = strip;
    const element = $(`.guide-strip[data-value=${name}]`);
    if (!element) return;
    const facts = factsOf(name);
    element.hidden = !facts;
    if (!facts) return void (shown[name] = "");
    const guides = chosen(name);
    const now = JSON.stringify([guides.map((guide) => [guide.image, guide.type, guide.model, guide.preprocessed, guide.kind, { ...previews.get(previewKey(guide)) }]), facts]);
    if (now !== shown[name] || !element.childElementCount) {
      shown[name] = now;
      const focused = /** @type {HTMLElement | null} */ (document.activeElement);
      const place = focused && element.contains(focused) ? [focused.closest(".guide")?.getAttribute("data-at"), focused.dataset.part] : [];
      const open = $$(".guide details", element).map((one) => one.open);
      const adding = make("button", { type: "button", className: "act guide-add", textContent: guides.length ? adds : noun });
      adding.onclick = () => pick((files) => add(name, files), true);
      adding.hidden = guides.length >= (facts.most ?? MOST);
      element.replaceChildren(...guides.map((guide, at) => card(strip, guide, at, facts)), adding);
      $$(".guide details", element).forEach((one, at) => (one.open = Boolean(open[at])));
      if (place[1]) $(`.guide[data-at="${place[0]}"] [data-part="${place[1]}"]`, element)?.focus();
    }
    $$(".guide", element).forEach((one, at) => update(one, guides[at]));
  }
  /**
   * @param {Strip} strip
   * @param {Guide} guide
   * @param {number} at
   * @param {Facts} facts
   */
  function card(strip, guide, at, facts) {
    const { name, noun } = strip;
    const label = `${noun} ${at + 1}`;
    const image = guide.image.startsWith("ui-") ? make("img", { src: `uploads/${encodeURIComponent(guide.image)}`, alt: "" }) : make("b", { textContent: "?" });
    const face = make("button", { type: "button", className: "guide-face", title: "Choose another image", ariaLabel: `Image of ${label}` }, image);
    face.onclick = () => pick(async ([file]) => change(name, at, { image: (await upload(file)) ?? guide.image }));
    const on = make("input", { type: "checkbox", role: "switch", ariaLabel: `Use ${label}` });
    on.onchange = () => change(name, at, { enabled: on.checked ? undefined : false });
    const remove = make("button", { type: "button", className: "tool", ariaLabel: `Remove ${label}`, title: "Remove", innerHTML: "&times;" });
    remove.onclick = () => {
      choose(name, chosen(name).filter((_, index) => index !== at));
      ($(`.guide-strip[data-value=${name}] .guide [data-part=remove]`) ?? $(`.guide-strip[data-value=${name}] .guide-add`))?.focus();
    };
    const [first, ...rest] = strip.body(guide, at, facts);
    const element = make(
      "div", { className: "guide", role: "group", ariaLabel: label }, face,
      make("div", { className: "guide-head" }, first, make("label", { className: "switch" }, on), remove),
      strip.weighted(facts) ? weight(strip, label, at) : null,
      ...rest,
    );
    for (const [part, control] of Object.entries({ face, on, remove })) control.dataset.part = part;
    element.dataset.at = String(at);
    return element;
  }
  /** @param {Strip} strip @param {string} label @param {number} at */
  function weight({ name, max }, label, at) {
    const box = make("input", { type: "number", step: "0.05", min: 0, max: 10, ariaLabel: `Strength of ${label}`, inputMode: "decimal" });
    const slider = make("input", { type: "range", step: "0.05", min: 0, max, ariaLabel: `Strength of ${label}, slider` });
    slider.oninput = () => change(name, at, { strength: Number(slider.value) });
    box.onchange = () => change(name, at, { strength: Math.max(0, Math.min(10, Number(box.value.replace(",", ".")) || 0)) });
    slider.dataset.part = "slider";
    box.dataset.part = "strength";
    slider.dataset.max = String(max);
    return make("div", { className: "guide-weight" }, slider, box);
  }
  /** Show the values in a card that is there: focus and a drag continue. @param {AnyElement} element @param {Guide} guide */
  function update(element, guide) {
    const [on, slider, box] = ["on", "slider", "strength"].map((part) => $(`[data-part=${part}]`, element));
    on.checked = guide.enabled !== false;
    element.classList.toggle("off", !on.checked);
    if (slider) {
      slider.value = String(guide.strength);
      slider.style.setProperty("--part", `${(100 * Number(slider.value)) / Number(slider.dataset.max)}%`);
      if (document.activeElement !== box || Number(box.value) !== guide.strength) box.value = String(guide.strength);
    }
    for (const [part, usual] of /** @type {["start" | "end", number][]} */ ([["start", 0], ["end", 1]])) {
      const edge = $(`[data-part=${part}]`, element);
      if (edge && document.activeElement !== edge) edge.value = String(Math.round(100 * (guide[part] ?? usual)));
    }
  }

  // ---- the controls of each kind of card -----------------------------------------------------

  /** @param {string} part @param {string} label @param {[string, string][]} options @param {string} now @param {(value: string) => void} then */
  function select(part, label, options, now, then) {
    const list = make("select", { ariaLabel: label }, ...options.map(([value, text]) => make("option", { value, textContent: text, selected: value === now, translate: part !== "model" || !value })));
    list.onchange = () => then(list.value);
    list.dataset.part = part;
    return make("span", { className: "guide-select" }, list);
  }
  /** @type {Strip["body"]} */
  function controls(guide, at, facts) {
    const label = `ControlNet ${at + 1}`;
    const types = facts.types ?? [];
    const type = types.find((one) => one.name === guide.type);
    const set = (/** @type {Partial<Guide>} */ values) => change("controlnets", at, values);
    const first = select("type", `Type of ${label}`, types.map((one) => [one.name, one.title]), guide.type ?? "", (value) => set({ type: value, model: undefined }));
    if (!type) first.firstElementChild.prepend(make("option", { value: guide.type, textContent: guide.type, selected: true }));
    const models = facts.models ?? [];
    const named = guide.model && !models.includes(guide.model) ? [guide.model] : [];
    const model = select(
      "model", `Model of ${label}`, [["", "Automatic model"], ...[...named, ...models].map((one) => /** @type {[string, string]} */ ([one, shortName(one)]))],
      guide.model ?? "", (value) => set({ model: value || undefined }),
    );
    const row = make("div", { className: "guide-row" }, model, browse(label, guide, facts, set));
    const preparing = previews.get(previewKey(guide));
    const canPrepare = type?.prepares && !type.lacks && !guide.preprocessed;
    if (canPrepare) {
      const look = make("button", { type: "button", className: "act", textContent: preparing?.stop ? "Stop" : "Preview", title: "Show what the ControlNet will see" });
      look.onclick = () => preview(guide);
      look.dataset.part = "preview";
      row.append(look);
    }
    let note = "";
    if (!type) note = "Not a type of this model";
    else if (named.length && models.length) note = "Not on the server, or for another model family";
    else if (!guide.preprocessed) note = type.lacks;
    return [first, row, note && make("p", { className: "guide-note", textContent: note }), compared(guide, preparing), more(guide, at, facts, type, set)];
  }
  /**
   * Choose the model among all of its folder, with pictures.
   * @param {string} label
   * @param {Guide} guide
   * @param {Facts} facts
   * @param {(values: Partial<Guide>) => void} set
   */
  function browse(label, guide, facts, set) {
    const button = make("button", { type: "button", className: "tool", ariaLabel: `Browse: Model of ${label}`, title: "Browse" });
    button.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z"/></svg>';
    button.dataset.part = "browse";
    button.onclick = () => window.comfy.browseModels({
      title: `Model of ${label}`,
      folder: facts.folder ?? "controlnet",
      family: facts.folder === "controlnet" ? (facts.family ?? "") : "",
      chosen: () => (guide.model ? [guide.model] : []),
      single: true,
      pick: (one) => set({ model: one.name }),
      closed: () => $(`.guide-strip[data-value=controlnets] .guide[data-at="${button.closest(".guide")?.dataset.at ?? 0}"] [data-part=browse]`)?.focus(),
    });
    return button;
  }
  /** The picture beside the prepared one. @param {Guide} guide @param {{ url?: string, stop?: AbortController } | undefined} preparing */
  function compared(guide, preparing) {
    if (!preparing || guide.preprocessed) return null;
    const after = preparing.url ? make("img", { src: preparing.url, alt: "Prepared image", className: "guide-prepared" }) : make("p", { className: "quiet", role: "status", textContent: "Preparing …" });
    return make("div", { className: "guide-compare" }, make("img", { src: `uploads/${encodeURIComponent(guide.image)}`, alt: "Your image" }), after);
  }
  /**
   * @param {Guide} guide
   * @param {number} at
   * @param {Facts} facts
   * @param {GuideType | undefined} type
   * @param {(values: Partial<Guide>) => void} set
   */
  function more(guide, at, facts, type, set) {
    const parts = [];
    if (type?.prepares) {
      const ready = make("input", { type: "checkbox", role: "switch", checked: Boolean(guide.preprocessed) });
      ready.onchange = () => set({ preprocessed: ready.checked || undefined });
      ready.dataset.part = "preprocessed";
      parts.push(make("label", { className: "switch" }, ready, make("span", { textContent: "Image is prepared already" })));
    }
    if (!facts.patches?.includes(guide.model ?? "")) {
      /** @type {["start" | "end", string, number][]} */
      const edges = [["start", "From", 0], ["end", "To", 1]];
      parts.push(make("div", { className: "guide-row" }, ...edges.map(([part, text, usual]) => {
        const box = make("input", { type: "number", min: 0, max: 100, step: 5, inputMode: "numeric" });
        box.dataset.part = part;
        box.onchange = () => {
          const value = Math.max(0, Math.min(100, Number(box.value) || 0)) / 100;
          set({ [part]: value === usual ? undefined : value });
        };
        return make("label", { className: "guide-edge" }, make("span", { textContent: text }), box, make("span", { textContent: "%" }));
      })));
    }
    return parts.length ? make("details", {}, make("summary", { textContent: "More" }), ...parts) : null;
  }
  /** @type {Strip["body"]} */
  function kinds(guide, at, facts) {
    const title = `Reference ${at + 1}`;
    if (!facts.kinds) return [make("span", { className: "guide-title", textContent: title })];
    return [select("kind", `Kind of ${title}`, Object.entries(KINDS), guide.kind ?? "image", (value) => change("references", at, { kind: value === "image" ? undefined : value }))];
  }

  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (/** @type {any} */ event) => {
      const strip = event.target.closest?.(".guide-strip");
      if (!strip || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      if (name === "drop") add(strip.dataset.value, [...event.dataTransfer.files].filter((file) => file.type.startsWith("image/")));
    }, true);
  }
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (STRIPS.some(({ name }) => event.target === field(name))) draw();
  });
  window.comfy.onIsland(() => draw());
})();
