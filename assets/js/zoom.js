// @ts-check
// Zoom and pan of images: wheel, pinch, drag, double tap, and a click for the actual size.
"use strict";
(() => {
  const FIT = { scale: 1, x: 0, y: 0 };
  const MOST = 8; // times the actual size
  const CLICK_PX = 5; // farther is a drag
  const SWIPE_PX = 60;
  const DOUBLE_TAP_MS = 350;

  /**
   * Lets people zoom the images of an element, which fill it with `object-fit: contain`. The element
   * gets the custom property `--zoom`, a value for `transform` of the images.
   * @param {AnyElement} box
   * @param {{ drags?: (event: PointerEvent) => boolean, swiped?: (by: number) => void, clicks?: boolean }} [options]
   *   `drags`: whether a drag that begins so is not for panning; `swiped`: a finger has wiped over
   *   the whole image; `clicks`: a click toggles the actual size.
   */
  function zoomable(box, { drags = () => false, swiped = () => {}, clicks = false } = {}) {
    let view = { ...FIT };
    /** The pointers that are down, and where. @type {Map<number, { x: number, y: number }>} */
    const down = new Map();
    let start = { x: 0, y: 0, moved: false };
    let lastTap = 0;

    const image = () => box.querySelector("img");
    /** The image as it is without zoom: its size, and pixels of the image per pixel of the page. */
    function fitted() {
      const { clientWidth: width, clientHeight: height } = box;
      const { naturalWidth = 1, naturalHeight = 1 } = image() ?? {};
      const fit = Math.min(width / (naturalWidth || 1), height / (naturalHeight || 1)) || 1;
      return { width: naturalWidth * fit, height: naturalHeight * fit, actual: 1 / fit };
    }
    function apply(next) {
      const { width, height, actual } = fitted();
      const scale = Math.min(Math.max(next.scale, 1), Math.max(actual * MOST, 4));
      const far = { x: Math.max(0, (width * scale - box.clientWidth) / 2), y: Math.max(0, (height * scale - box.clientHeight) / 2) };
      const within = (value, limit) => Math.min(Math.max(value, -limit), limit);
      view = scale === 1 ? { ...FIT } : { scale, x: within(next.x, far.x), y: within(next.y, far.y) };
      box.style.setProperty("--zoom", scale === 1 ? "none" : `translate(${view.x}px, ${view.y}px) scale(${scale})`);
      box.classList.toggle("zoomed", scale > 1);
      box.dispatchEvent(new CustomEvent("zoom", { detail: Math.round((100 * scale) / actual) }));
    }
    /** A point of the page, from the middle of the element. */
    function point({ clientX, clientY }) {
      const { left, top, width, height } = box.getBoundingClientRect();
      return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
    }
    /** Zooms so that the image keeps its place under `at`. */
    function zoomTo(scale, at = { x: 0, y: 0 }) {
      const { actual } = fitted();
      const limited = Math.min(Math.max(scale, 1), Math.max(actual * MOST, 4));
      const by = limited / view.scale;
      apply({ scale: limited, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by });
    }
    const zoomBy = (factor, at) => zoomTo(view.scale * factor, at);
    function toggle(at) {
      const { actual } = fitted();
      if (view.scale > 1) apply(FIT);
      else zoomTo(actual > 1.1 ? actual : 2, at);
    }

    box.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
      if (!image()) return;
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), point(event));
    }, { passive: false });

    box.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button || !image() || (down.size === 0 && drags(event))) return;
      if (/** @type {Element} */ (event.target).closest("button")) return;
      if (view.scale > 1) event.preventDefault();
      box.setPointerCapture(event.pointerId);
      down.set(event.pointerId, point(event));
      start = { ...point(event), moved: down.size > 1 };
    });
    box.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const now = point(event);
      if (Math.hypot(now.x - start.x, now.y - start.y) > CLICK_PX) start.moved = true;
      const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
      down.set(event.pointerId, now);
      if (other) {
        const distance = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
        const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
        zoomBy(distance(now) / distance(before), middle);
      } else if (view.scale > 1 && start.moved) {
        apply({ scale: view.scale, x: view.x + now.x - before.x, y: view.y + now.y - before.y });
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      box.addEventListener(name, (/** @type {PointerEvent} */ event) => {
        if (!down.delete(event.pointerId) || down.size || name === "pointercancel") return;
        const now = point(event);
        const [dx, dy] = [now.x - start.x, now.y - start.y];
        if (!start.moved) return tap(event, now);
        const swipe = event.pointerType === "touch" && view.scale === 1 && Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy);
        if (swipe) swiped(dx < 0 ? 1 : -1);
      });
    }
    function tap(event, at) {
      if (event.pointerType !== "touch") return clicks && toggle(at);
      const twice = event.timeStamp - lastTap < DOUBLE_TAP_MS;
      lastTap = twice ? 0 : event.timeStamp;
      if (twice) toggle(at);
    }
    return { zoomBy, toggle, reset: () => apply(FIT) };
  }
  window.comfy.zoomable = zoomable;
})();
