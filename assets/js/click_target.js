// @ts-check
// Keeps clicks and focus on their item while lists grow at the front: Gradio then turns one element
// into its neighbor, so a click goes to the item that was under the pointer when it was pressed.
"use strict";
(() => {
  const { $ } = window.comfy.kit;
  const NEAR_PX = 8; // farther away it was a drag
  const ITEMS = ".thumb[data-open], .job [data-do], .tile [data-do], .draft [data-send], #stage-area [data-item], #stage-area [data-zoom]";

  /** @param {AnyElement} element */
  const itemOf = (element) => element.closest?.(ITEMS);
  /** A selector of the item that does not depend on its position. @param {AnyElement} item */
  function selectorOf(item) {
    const own = Object.entries(item.dataset).filter(([key]) => ["open", "do", "send", "what", "item", "zoom"].includes(key));
    const self = own.map(([key, value]) => `[data-${key}="${CSS.escape(value)}"]`).join("");
    const row = !item.dataset.open && item.closest(".job, .tile");
    const { job, item: result } = row ? row.dataset : {};
    if (job) return `[data-job="${CSS.escape(job)}"] ${self}`;
    return result ? `.tile[data-item="${CSS.escape(result)}"] ${self}` : self;
  }

  /** @typedef {{ selector: string, island: AnyElement, element: AnyElement, x: number, y: number }} Press */
  /** @type {Press | null} */
  let pressed = null;
  /**
   * @param {Press} press
   * @param {{ clientX: number, clientY: number }} event
   */
  const near = (press, event) => Math.hypot(event.clientX - press.x, event.clientY - press.y) < NEAR_PX;
  /**
   * @param {Press} press
   * @param {{ shiftKey: boolean, ctrlKey: boolean, metaKey: boolean }} event
   */
  function click(press, { shiftKey, ctrlKey, metaKey }) {
    pressed = null;
    $(press.selector, press.island)?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey, ctrlKey, metaKey }));
  }
  addEventListener(
    "pointerdown",
    (/** @type {On<PointerEvent>} */ event) => {
      const item = itemOf(event.target);
      pressed = null;
      if (!item || event.button || !event.isPrimary) return;
      pressed = { selector: selectorOf(item), island: item.closest(".island"), element: event.target, x: event.clientX, y: event.clientY };
    },
    true,
  );
  for (const other of ["pointercancel", "keydown"]) addEventListener(other, () => (pressed = null), true);
  // The browser fires no click if the pressed element was removed.
  addEventListener(
    "pointerup",
    (/** @type {On<PointerEvent>} */ event) => {
      const press = pressed;
      if (press && !press.element.isConnected && near(press, event)) setTimeout(() => pressed === press && click(press, event));
    },
    true,
  );
  addEventListener(
    "click",
    (/** @type {On<MouseEvent>} */ event) => {
      if (!pressed || !event.isTrusted) return;
      const item = itemOf(event.target);
      if (!near(pressed, event) || (item && selectorOf(item) === pressed.selector)) {
        pressed = null;
        return;
      }
      event.preventDefault();
      event.stopImmediatePropagation();
      click(pressed, event);
    },
    true,
  );

  /** The selector of the thumbnail that has the focus. @type {string | null} */
  let focused = null;
  document.addEventListener("focusin", (/** @type {On<FocusEvent>} */ { target }) => {
    focused = target.matches(".thumb[data-open]") ? selectorOf(target) : null;
  });
  window.comfy.onIsland((island) => {
    const active = document.activeElement;
    if (active && focused && island.contains(active) && !active.matches(focused)) $(focused, island)?.focus({ preventScroll: true });
  });
})();
