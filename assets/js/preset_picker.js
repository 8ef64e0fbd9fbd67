// @ts-check
// The preset picker: search, filters, favorites and recent presets first, and its keyboard.
"use strict";
(() => {
  const { $, $$, load, save, post } = window.comfy.kit;
  const FILTERS = "comfy-ui.preset-filters";

  /** @param {AnyElement} picker */
  const offered = (picker) => $$(".option:not([hidden])", picker);
  /** The ids of the user's presets, in their order. */
  let own = { favorites: /** @type {string[]} */ ([]), recent: /** @type {string[]} */ ([]), defaults: false };

  // ---- search and filters ----------------------------------------------------------------------

  /** @param {AnyElement} picker */
  function filter(picker) {
    const words = $("[data-find-preset]", picker).value.toLowerCase().split(/\s+/).filter(Boolean);
    const { ready, favorite, kind, memory } = load(FILTERS, {});
    for (const option of $$(".option", picker)) {
      const { preset, find, kind: its, memory: needs = "0" } = option.dataset;
      option.hidden = !(
        words.every((word) => find.includes(word)) &&
        (!ready || option.dataset.ready) &&
        (!favorite || own.favorites.includes(preset)) &&
        (!kind || kind === its) &&
        (!memory || Number(needs) <= Number(memory))
      );
    }
  }
  /** @param {AnyElement} picker */
  function showFilters(picker) {
    const chosen = load(FILTERS, {});
    for (const box of $$(".preset-filters input", picker)) box.checked = Boolean(chosen[box.name]);
    for (const list of $$(".preset-filters select", picker)) {
      list.value = chosen[list.name] ?? "";
      list.classList.toggle("set", Boolean(list.value));
    }
  }
  document.addEventListener("input", (/** @type {On<Event>} */ { target }) => {
    const picker = target.closest?.(".picker");
    if (!picker) return;
    if (target.closest(".preset-filters")) {
      save(FILTERS, { ...load(FILTERS, {}), [target.name]: target.type === "checkbox" ? target.checked : target.value });
      showFilters(picker);
    }
    filter(picker);
  });
  window.comfy.actions["all-presets"] = (button) => {
    const picker = button.closest(".picker");
    save(FILTERS, {});
    $("[data-find-preset]", picker).value = "";
    showFilters(picker);
    filter(picker);
    $("[data-find-preset]", picker).focus();
  };

  // ---- favorites and recent presets ------------------------------------------------------------

  /** Moves the user's presets to the front; a preset stands once in the list. @param {AnyElement} picker */
  function arrange(picker) {
    const choice = (id) => $(`.choice[data-preset-id="${CSS.escape(id)}"]`, picker);
    const recent = own.recent.filter((id) => !own.favorites.includes(id));
    $("[data-own=favorites]", picker).append(...own.favorites.map(choice).filter(Boolean));
    $("[data-own=recent]", picker).append(...recent.map(choice).filter(Boolean));
    for (const star of $$(".favorite", picker)) {
      star.setAttribute("aria-pressed", String(own.favorites.includes(star.parentElement.dataset.presetId)));
    }
    filter(picker);
  }
  window.comfy.ownPresets = async () => {
    const preset = $("form.settings")?.dataset.preset ?? "";
    const answer = await fetch(`presets/own?${new URLSearchParams({ preset })}`).catch(() => null);
    if (answer?.ok) own = await answer.json();
    const picker = $(".picker");
    if (picker) arrange(picker);
    return own;
  };
  window.comfy.actions["favorite-preset"] = async (button) => {
    const name = button.parentElement.dataset.presetId;
    const marked = button.ariaPressed !== "true";
    if (!(await post("presets/favorite", { name, marked }))) return;
    own.favorites = marked ? [...own.favorites, name].sort() : own.favorites.filter((id) => id !== name);
    button.setAttribute("aria-pressed", String(marked)); // it moves when the list is opened again
  };

  // ---- opening, keys ---------------------------------------------------------------------------

  // Toggle events do not bubble.
  document.addEventListener("toggle", (/** @type {On<Event>} */ { target: picker }) => {
    if (!picker.matches?.(".picker") || !picker.open) return;
    for (const cover of $$("img[data-src]", picker)) cover.src = cover.dataset.src;
    const search = $("[data-find-preset]", picker);
    search.value = "";
    showFilters(picker);
    arrange(picker);
    $(".options", picker).scrollTop = 0;
    $("[aria-current]", picker)?.scrollIntoView({ block: "nearest" });
    // A finger has no use for the focus: the keyboard on the screen would cover the list.
    if (matchMedia("(pointer: fine)").matches) search.focus({ preventScroll: true });
  }, true);

  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const picker = event.target.closest?.(".picker[open]");
    if (!picker || event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".preset-filters")) return;
    const search = $("[data-find-preset]", picker);
    const options = offered(picker);
    const at = options.indexOf(event.target);
    if (event.key === "Enter" && event.target === search) options[0]?.click();
    else if (event.key === "ArrowDown") (options[at + 1] ?? options.at(-1))?.focus();
    else if (event.key === "ArrowUp") (options[at - 1] ?? search).focus();
    else if (at >= 0 && event.key === "Home") options[0].focus();
    else if (at >= 0 && event.key === "End") options.at(-1).focus();
    else if (at >= 0 && event.key === "*") $(".favorite", event.target.parentElement).click();
    else if (at >= 0 && event.key.length === 1 && event.key !== " ") return search.focus(); // it gets the letter
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusout", (/** @type {On<FocusEvent>} */ { target, relatedTarget }) => {
    const picker = target.closest?.(".picker[open]");
    if (picker && relatedTarget && !picker.contains(/** @type {Node} */ (relatedTarget))) picker.open = false;
  });
})();
