// @ts-check
// The keyboard in the preset picker: search, arrows, Enter.
"use strict";
(() => {
  const { $, $$ } = window.comfy.kit;

  /** @param {AnyElement} picker */
  const offered = (picker) => $$(".option:not([hidden])", picker);

  // Toggle events do not bubble.
  document.addEventListener("toggle", (/** @type {On<Event>} */ { target: picker }) => {
    if (!picker.matches?.(".picker") || !picker.open) return;
    const search = $(".filter", picker);
    if (search.value) {
      search.value = "";
      search.dispatchEvent(new Event("input", { bubbles: true }));
    }
    $("[aria-current]", picker)?.scrollIntoView({ block: "nearest" });
    // A finger has no use for the focus: the keyboard on the screen would cover the list.
    if (matchMedia("(pointer: fine)").matches) search.focus({ preventScroll: true });
  }, true);

  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const picker = event.target.closest?.(".picker[open]");
    if (!picker || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = $(".filter", picker);
    const options = offered(picker);
    const at = options.indexOf(event.target);
    if (event.key === "Enter" && event.target === search) options[0]?.click();
    else if (event.key === "ArrowDown") (options[at + 1] ?? options.at(-1))?.focus();
    else if (event.key === "ArrowUp") (options[at - 1] ?? search).focus();
    else if (at >= 0 && event.key === "Home") options[0].focus();
    else if (at >= 0 && event.key === "End") options.at(-1).focus();
    else if (at >= 0 && event.key.length === 1 && event.key !== " ") return search.focus(); // it gets the letter
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusout", (/** @type {On<FocusEvent>} */ { target, relatedTarget }) => {
    const picker = target.closest?.(".picker[open]");
    if (picker && relatedTarget && !picker.contains(/** @type {Node} */ (relatedTarget))) picker.open = false;
  });
})();
