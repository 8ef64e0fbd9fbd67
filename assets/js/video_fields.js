// @ts-check
// The form of a video: its length in seconds, and the shape of its first image.
"use strict";
(() => {
  const { $, $$, setField } = window.comfy.kit;

  const SAME_SHAPE = 0.03; // as in fit_size of web/components/preset_form.py

  /** @param {ParentNode} root */
  function secondsShown(root) {
    for (const output of $$("form.settings .seconds", root)) {
      const own = output.dataset.fpsField && document.getElementById(output.dataset.fpsField);
      const fps = Number(own ? own.value : output.dataset.fps);
      const field = /** @type {AnyElement} */ (document.getElementById(output.htmlFor.toString()));
      const frames = Number(field?.value);
      output.textContent = frames > 0 && fps > 0 ? `${(frames / fps).toFixed(1)} s` : "";
    }
  }
  /**
   * Width and height of the shape of an image: one of the form's named sizes, the nearest in area; else a
   * size of the same area.
   * @param {AnyElement} size
   * @param {AnyElement[]} fields width and height
   * @param {number} shape width / height of the image
   */
  function fitted(size, fields, shape) {
    const alike = (/** @type {number} */ other) => Math.abs(other / shape - 1) <= SAME_SHAPE;
    const [wide, high] = fields.map(({ value }) => Number(value));
    if (alike(wide / high)) return [wide, high];
    const area = wide * high;
    const named = $$(".shape", size)
      .map(({ dataset }) => [Number(dataset.w), Number(dataset.h)])
      .flatMap(([w, h]) => [[w, h], [h, w]])
      .filter(([w, h]) => alike(w / h))
      .sort((one, other) => Math.abs(one[0] * one[1] - area) - Math.abs(other[0] * other[1] - area));
    if (named.length) return named[0];
    const exact = [Math.sqrt(area * shape), Math.sqrt(area / shape)];
    return fields.map(({ min, max, step }, at) => {
      const unit = Number(step) || 16;
      return Math.min(Math.max(Math.round(exact[at] / unit) * unit, Number(min) || unit), Number(max) || Infinity);
    });
  }
  /** Give a video the shape of the image that it starts with. @param {string} name of the upload */
  async function follow(name) {
    const image = new Image();
    image.src = `uploads/${encodeURIComponent(name)}`;
    await image.decode().catch(() => {});
    const size = $("form.settings .field.size");
    if (!image.naturalWidth || !size) return;
    const names = [size.dataset.width, size.dataset.height];
    const elements = $("form.settings").elements;
    const values = fitted(size, names.map((field) => elements[field]), image.naturalWidth / image.naturalHeight);
    names.forEach((field, at) => Number(elements[field].value) !== values[at] && setField(field, String(values[at])));
  }

  window.comfy.onIsland(secondsShown);
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    const field = event.target;
    if (!field.closest?.("form.settings")) return;
    secondsShown(document);
    const follows = $("form.settings .field.size")?.dataset.follows;
    if (follows && field.name === follows && field.type === "hidden" && field.value && !field.value.includes("\n")) follow(field.value);
  });
})();
