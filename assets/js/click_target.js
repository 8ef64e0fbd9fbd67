// Lists grow at their front while somebody clicks, and Gradio then turns one element into its
// neighbour. What was under the pointer when it was pressed is meant, and what has the focus keeps it.
"use strict";
(() => {
  const { $ } = window.comfy.kit;
  const NEAR_PX = 8; // farther away: it was dragged, or given up
  const THINGS = ".thumb[data-open], .job [data-do], .tile [data-do], .draft [data-send], #stage [data-item], #stage [data-zoom]";

  const thing = (element) => element.closest?.(THINGS);
  // What it is, as a selector; where it stands does not matter.
  function name(found) {
    const own = Object.entries(found.dataset).filter(([key]) => ["open", "do", "send", "what", "item", "zoom"].includes(key));
    const self = own.map(([key, value]) => `[data-${key}="${CSS.escape(value)}"]`).join("");
    const row = !found.dataset.open && found.closest(".job, .tile");
    const { job, item } = row ? row.dataset : {};
    if (job) return `[data-job="${CSS.escape(job)}"] ${self}`;
    return item ? `.tile[data-item="${CSS.escape(item)}"] ${self}` : self;
  }

  let aimed = null;
  const near = (event) => Math.hypot(event.clientX - aimed.x, event.clientY - aimed.y) < NEAR_PX;
  function press({ shiftKey, ctrlKey, metaKey }) {
    const meant = $(aimed.name, aimed.island);
    aimed = null;
    meant?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey, ctrlKey, metaKey }));
  }
  addEventListener(
    "pointerdown",
    (event) => {
      const found = thing(event.target);
      aimed = found && !event.button && event.isPrimary ? { name: name(found), island: found.closest(".island"), hit: event.target, x: event.clientX, y: event.clientY } : null;
    },
    true,
  );
  for (const other of ["pointercancel", "keydown"]) addEventListener(other, () => (aimed = null), true);
  // Where the very element is gone, the browser knows of no click.
  addEventListener(
    "pointerup",
    (event) => {
      const mine = aimed;
      if (mine && !mine.hit.isConnected && near(event)) setTimeout(() => aimed === mine && press(event));
    },
    true,
  );
  addEventListener(
    "click",
    (event) => {
      if (!aimed || !event.isTrusted) return;
      const found = thing(event.target);
      if (!near(event) || (found && name(found) === aimed.name)) return void (aimed = null);
      event.preventDefault();
      event.stopImmediatePropagation();
      press(event);
    },
    true,
  );

  let focused = null; // the name of the thumbnail that has the focus
  document.addEventListener("focusin", ({ target }) => (focused = target.matches(".thumb[data-open]") ? name(target) : null));
  window.comfy.onIsland((island) => {
    const now = document.activeElement;
    if (focused && island.contains(now) && !now.matches(focused)) $(focused, island)?.focus({ preventScroll: true });
  });
})();
