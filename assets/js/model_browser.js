// @ts-check
// Model files as cards: what the server says about the files of a folder, and a dialog to choose from them.
"use strict";
(() => {
  const { $, $$, make, dialog, post } = window.comfy.kit;
  const POLL_MS = 1500;
  const MAX_POLLS = 40;

  /** The files by folder, as far as the server was asked. @type {Map<string, ModelFile[]>} */
  const lists = new Map();
  /** @type {Map<string, Promise<void>>} */
  const asking = new Map();
  /** @type {((folder: string) => void)[]} */
  const listeners = [];

  /** @param {string} name */
  const shortName = (name) => name.replace(/^.*[\\/]/, "").replace(/\.(safetensors|sft|ckpt|pth?|bin|gguf)$/i, "");
  /** @param {{ name: string, title: string }} one */
  const modelTitle = (one) => one.title || shortName(one.name).replace(/_+/g, " ");
  /**
   * The picture of a file over its first letter, which shows if there is none.
   * @param {string} folder
   * @param {string} title
   * @param {string} [name] of a file that the server has
   */
  function modelPicture(folder, title, name) {
    const letter = make("b", { textContent: title.slice(0, 1).toUpperCase() });
    const image = name && make("img", { src: `models/preview?${new URLSearchParams({ folder, name })}`, alt: "", loading: "lazy" });
    return make("span", { className: "model-face", ariaHidden: "true" }, letter, image);
  }
  /** Ask the server for a folder, again while it still reads its files. @param {string} folder */
  function ask(folder) {
    if (asking.has(folder)) return;
    const task = (async () => {
      for (let again = 0; again < MAX_POLLS; again++) {
        const answer = await fetch(`models?${new URLSearchParams({ folder })}`).catch(() => null);
        if (!answer?.ok) return;
        const { models, complete } = await answer.json();
        lists.set(folder, models);
        for (const listener of listeners) listener(folder);
        if (complete) return;
        await new Promise((done) => setTimeout(done, POLL_MS));
      }
    })();
    asking.set(folder, task.finally(() => asking.delete(folder)));
  }

  // ---- the dialog ----------------------------------------------------------------------------

  let showsAll = false;
  let redraw = () => {};
  listeners.push(() => redraw());
  /** @type {ComfyPage["browseModels"]} */
  window.comfy.browseModels = (options) => {
    showsAll = false;
    const { title, folder } = options;
    const search = make("input", { type: "search", placeholder: "Search", ariaLabel: `Search: ${title}` });
    const grid = make("div", { className: "model-grid", role: "group", ariaLabel: title });
    const others = make("button", { type: "button", className: "act" });
    const note = make("p", { className: "quiet", role: "status" });
    const opened = dialog("models", title, make("h2", { textContent: title }), search, grid, make("div", { className: "model-foot" }, note, others));
    const close = opened.onclose;
    opened.onclose = (/** @type {Event} */ event) => {
      redraw = () => {};
      close.call(opened, event);
      options.closed();
    };
    const pick = (/** @type {ModelFile} */ one) => {
      options.pick(one);
      if (options.single) opened.close();
      else redraw();
    };
    redraw = () => fill({ ...options, pick }, { grid, note, others, text: search.value });
    search.oninput = () => redraw();
    others.onclick = () => {
      showsAll = !showsAll;
      redraw();
    };
    grid.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => walk(event, grid));
    ask(folder);
    redraw();
    search.focus();
  };
  /**
   * @param {BrowseOptions} options
   * @param {{ grid: AnyElement, note: AnyElement, others: AnyElement, text: string }} parts
   */
  function fill(options, { grid, note, others, text }) {
    const { folder, family } = options;
    const list = lists.get(folder);
    const chosen = options.chosen();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const about = (/** @type {ModelFile} */ one) => `${one.name} ${one.title} ${one.base} ${one.family} ${one.words.join(" ")}`.toLowerCase();
    const fits = (/** @type {ModelFile} */ one) => !one.family || !family || one.family === family;
    const rank = (/** @type {ModelFile} */ one) => (one.favorite ? 0 : family && one.family === family ? 1 : fits(one) ? 2 : 3);
    const matches = (list ?? []).filter((one) => words.every((word) => about(one).includes(word)));
    const listed = matches.filter((one) => showsAll || fits(one) || one.favorite || chosen.includes(one.name));
    listed.sort((a, b) => rank(a) - rank(b) || modelTitle(a).localeCompare(modelTitle(b)));
    const hiddenCount = matches.length - listed.length;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset;
    grid.replaceChildren(...listed.map((one) => card(options, one, chosen.includes(one.name))));
    if (focused?.model) $$("[data-model]", grid).find((one) => one.dataset.model === focused.model && one.dataset.kind === focused.kind)?.focus();
    others.hidden = !hiddenCount && !showsAll;
    others.textContent = showsAll ? "Only those that fit" : `Show all (${hiddenCount} more)`;
    note.textContent = !list ? "Loading…" : listed.length ? "" : !list.length ? `The server has no files there. Put them into its folder models/${folder}.` : "Nothing matches your search.";
  }
  /**
   * @param {BrowseOptions} options
   * @param {ModelFile} one
   * @param {boolean} pressed
   */
  function card({ folder, pick }, one, pressed) {
    const title = modelTitle(one);
    const facts = [one.family, one.size && size(one.size)].filter(Boolean).join(", ");
    const choice = make(
      "button", { type: "button", className: "model-pick" },
      modelPicture(folder, title, one.name),
      make("span", { className: "model-title", textContent: title, title: one.name, translate: false }),
      make("span", { className: "quiet", textContent: facts || "Unknown family", translate: !facts }),
    );
    choice.setAttribute("aria-pressed", String(pressed));
    choice.onclick = () => pick(one);
    const star = make("button", { type: "button", className: "model-star", ariaLabel: `Favorite: ${title}`, textContent: one.favorite ? "★" : "☆" });
    star.setAttribute("aria-pressed", String(one.favorite));
    star.onclick = async () => {
      const answer = await post("models/favorite", { folder, name: one.name, marked: !one.favorite });
      if (answer) one.favorite = answer.marked;
      redraw();
    };
    for (const button of [choice, star]) Object.assign(button.dataset, { model: one.name, kind: button.className });
    return make("div", { className: "model-card" }, choice, star);
  }
  /** @param {number} bytes */
  const size = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`);
  /**
   * @param {On<KeyboardEvent>} event
   * @param {AnyElement} grid
   */
  function walk(event, grid) {
    const picks = $$(".model-pick", grid);
    const at = picks.indexOf(event.target);
    if (at < 0) return;
    const columns = picks.filter((pick) => pick.getBoundingClientRect().top === picks[0].getBoundingClientRect().top).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!step || !picks[at + step]) return;
    event.preventDefault();
    picks[at + step].focus();
  }

  // ---- model fields of the form ----------------------------------------------------------------

  window.comfy.actions["browse-models"] = (button) => {
    const select = $("select", button.closest(".field"));
    const label = $("label", button.closest(".field"));
    window.comfy.browseModels({
      title: label.textContent,
      folder: button.dataset.folder,
      family: button.dataset.family ?? "",
      chosen: () => [select.value],
      single: true,
      pick(one) {
        if (![...select.options].some((option) => option.value === one.name)) select.append(make("option", { value: one.name, textContent: one.name }));
        select.value = one.name;
        select.dispatchEvent(new Event("input", { bubbles: true }));
      },
      closed: () => button.focus(),
    });
  };

  window.comfy.models = {
    ask,
    modelList: (folder) => lists.get(folder) ?? null,
    modelPicture,
    modelTitle,
    onList: (listener) => listeners.push(listener),
    shortName,
  };
})();
