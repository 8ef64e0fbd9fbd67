// @ts-check
// A drawing of the canvas: the strokes of its layers with undo and redo, their JSON, and the frame of
// an extended image. All coordinates are pixels of the image. No DOM.
"use strict";
(() => {
  const MAX_TEXT = 1_000_000; // as the server's MAX_STROKES
  const MAX_OPS = 20_000;
  const STEP = 8; // of the frame; models work on blocks of 8 pixels
  const WHOLE = ["fill", "clear", "invert"];
  const STROKES = ["brush", "erase", "lasso"];
  const SMALLEST = 8; // points of the outline of an area, which is else a speck

  class Drawing {
    /** @type {CanvasOp[]} */
    #undone = [];
    /** @param {{ ops?: CanvasOp[], feather?: number }} [start] */
    constructor({ ops = [], feather = 0 } = {}) {
      this.ops = ops;
      this.feather = feather;
    }
    get canUndo() {
      return this.ops.length > 0;
    }
    get canRedo() {
      return this.#undone.length > 0;
    }
    /** @param {CanvasOp} op */
    add(op) {
      this.ops.push(op);
      this.#undone = [];
    }
    undo() {
      const op = this.ops.pop();
      if (op) this.#undone.push(op);
    }
    redo() {
      const op = this.#undone.pop();
      if (op) this.ops.push(op);
    }
    /** Whether a layer may show anything that was painted. @param {string} layer */
    has(layer) {
      const ops = this.ops.filter((op) => op.layer === layer);
      return ops.slice(ops.findLastIndex((op) => op.kind === "clear") + 1).some((op) => op.kind !== "erase");
    }
    /** Whether a layer was changed at all. @param {string} layer */
    touches(layer) {
      return this.ops.some((op) => op.layer === layer);
    }
    /** The drawing over the upload `base` as JSON; empty if it is too long to keep. @param {string} base */
    text(base) {
      const text = JSON.stringify({ base, feather: this.feather, ops: this.ops });
      return text.length <= MAX_TEXT ? text : "";
    }
  }

  /**
   * What `Drawing.text` has written. It comes out of a file, so nothing in it is trusted.
   * @param {any} data
   * @returns {{ base: string, drawing: Drawing } | null}
   */
  function read(data) {
    if (!data || typeof data.base !== "string" || !Array.isArray(data.ops)) return null;
    const ops = data.ops.slice(0, MAX_OPS).map(readOp);
    if (!ops.every(Boolean)) return null;
    const feather = Number.isFinite(data.feather) ? Math.min(Math.max(Math.round(data.feather), 0), 256) : 0;
    return { base: data.base, drawing: new Drawing({ ops, feather }) };
  }
  /** @param {any} op */
  function readOp(op) {
    const layer = op?.layer === "mask" ? "mask" : "sketch";
    const color = /^#[0-9a-f]{6}$/.test(op?.color) ? op.color : "#000000";
    if (WHOLE.includes(op?.kind)) return { kind: op.kind, layer, color };
    const numbers = (list) => Array.isArray(list) && list.every(Number.isFinite);
    if (op?.kind === "area") {
      const whole = Array.isArray(op.loops) && op.loops.every((loop) => numbers(loop) && loop.length % 2 === 0);
      return whole ? { kind: "area", layer, color, loops: op.loops } : null;
    }
    if (!STROKES.includes(op?.kind) || !numbers(op.points) || op.points.length % 2 || !(op.size > 0)) return null;
    const widths = numbers(op.widths) && op.widths.length === op.points.length / 2 ? { widths: op.widths } : {};
    return { kind: op.kind, layer, color, size: op.size, points: op.points, ...widths };
  }

  /**
   * Adds a point to a stroke unless it is too near the last one to be seen.
   * @param {CanvasOp} op
   * @param {number} x
   * @param {number} y
   * @param {{ scale: number, width?: number }} at `scale`: screen pixels per pixel; `width`: part of the size, from a pen's pressure
   */
  function extend(op, x, y, { scale, width }) {
    const points = op.points ?? (op.points = []);
    const near = Math.max((op.size ?? 1) / 24, 0.6 / scale);
    if (points.length && Math.hypot(x - points[points.length - 2], y - points[points.length - 1]) < near) return;
    points.push(Math.round(x * 10) / 10, Math.round(y * 10) / 10);
    if (width !== undefined) (op.widths ?? (op.widths = [])).push(Math.round(width * 100) / 100);
  }

  /**
   * Draws an operation, or what a stroke has gained since its point number `from`.
   * @param {any} pen a 2D context whose unit is a pixel of the image
   * @param {CanvasOp} op
   * @param {{ width: number, height: number, ink: string }} image `ink`: the color of the mask
   * @param {number} [from]
   */
  function draw(pen, op, { width, height, ink }, from = 0) {
    const modes = { erase: "destination-out", invert: "xor" };
    pen.globalCompositeOperation = modes[op.kind] ?? "source-over";
    pen.fillStyle = pen.strokeStyle = op.layer === "mask" ? ink : op.color;
    if (op.kind === "clear") pen.clearRect(0, 0, width, height);
    else if (WHOLE.includes(op.kind)) pen.fillRect(0, 0, width, height);
    else if (op.kind === "lasso") fillPath(pen, op.points ?? []);
    else if (op.kind === "area") fillArea(pen, op.loops ?? []);
    else drawStroke(pen, op, from);
  }
  function fillPath(pen, points) {
    pen.beginPath();
    for (let at = 0; at < points.length; at += 2) pen.lineTo(points[at], points[at + 1]);
    pen.fill();
  }
  /** @param {any} pen @param {number[][]} loops outlines of areas and of their holes */
  function fillArea(pen, loops) {
    pen.beginPath();
    for (const loop of loops) {
      pen.moveTo(loop[0], loop[1]);
      for (let at = 2; at < loop.length; at += 2) pen.lineTo(loop[at], loop[at + 1]);
      pen.closePath();
    }
    pen.fill("evenodd");
  }
  /** @param {any} pen @param {CanvasOp} op @param {number} from */
  function drawStroke(pen, { points = [], widths, size = 1 }, from) {
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = size;
    const last = points.length / 2 - 1;
    const first = Math.max(0, Math.min(from, last));
    pen.beginPath();
    pen.moveTo(points[2 * first], points[2 * first + 1]);
    if (first === last) pen.lineTo(points[2 * first], points[2 * first + 1]);
    for (let at = first + 1; at <= last; at += 1) {
      if (widths) pen.lineWidth = Math.max(0.5, size * widths[at]);
      pen.lineTo(points[2 * at], points[2 * at + 1]);
      if (!widths) continue;
      pen.stroke(); // a width of its own for each part
      pen.beginPath();
      pen.moveTo(points[2 * at], points[2 * at + 1]);
    }
    if (!widths || first === last) pen.stroke();
  }

  // ---- areas -------------------------------------------------------------------------------------

  /**
   * The outlines of what is light in an image, as the loops of an area.
   * @param {{ data: ArrayLike<number>, width: number, height: number }} image RGBA
   * @param {number} [scale] of the outlines
   */
  function outlines({ data, width, height }, scale = 1) {
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] > 127;
    // The edges between pixels inside and outside, by the corner that they start from. They run
    // around the inside, so at each corner as many end as start.
    /** @type {Map<number, number[]>} */
    const edges = new Map();
    const corner = (x, y) => y * (width + 1) + x;
    const edge = (from, to) => edges.set(from, [...(edges.get(from) ?? []), to]);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        if (!inside(x, y)) continue;
        if (!inside(x, y - 1)) edge(corner(x, y), corner(x + 1, y));
        if (!inside(x + 1, y)) edge(corner(x + 1, y), corner(x + 1, y + 1));
        if (!inside(x, y + 1)) edge(corner(x + 1, y + 1), corner(x, y + 1));
        if (!inside(x - 1, y)) edge(corner(x, y + 1), corner(x, y));
      }
    }
    const loops = [];
    for (const [start] of edges) {
      while (edges.get(start)?.length) {
        const loop = [];
        let at = start;
        do {
          loop.push([at % (width + 1), Math.floor(at / (width + 1))]);
          at = edges.get(at)?.pop() ?? start;
        } while (at !== start);
        if (loop.length >= SMALLEST) loops.push(smooth(loop).flatMap(([x, y]) => [Math.round(x * scale * 10) / 10, Math.round(y * scale * 10) / 10]));
      }
    }
    return loops;
  }
  /** Cut the steps of pixels: the middles of the edges, without those on a straight line. @param {number[][]} loop */
  function smooth(loop) {
    const middles = loop.map(([x, y], at) => {
      const [nextX, nextY] = loop[(at + 1) % loop.length];
      return [(x + nextX) / 2, (y + nextY) / 2];
    });
    return middles.filter(([x, y], at) => {
      const [beforeX, beforeY] = middles.at(at - 1) ?? [x, y];
      const [afterX, afterY] = middles[(at + 1) % middles.length];
      return (x - beforeX) * (afterY - y) !== (y - beforeY) * (afterX - x);
    });
  }

  // ---- the frame ---------------------------------------------------------------------------------

  /** @param {number} pixels @param {number} most */
  const snap = (pixels, most) => Math.min(Math.max(Math.round(pixels / STEP) * STEP, 0), most);
  /**
   * The smallest frame of a shape around an image, with the image in its middle.
   * @param {number} ratio width / height
   * @param {{ width: number, height: number }} image
   * @param {number} most
   */
  function frameOf(ratio, { width, height }, most) {
    const [across, down] = [Math.max(0, height * ratio - width), Math.max(0, width / ratio - height)];
    return { left: snap(across / 2, most), top: snap(down / 2, most), right: snap(across / 2, most), bottom: snap(down / 2, most) };
  }

  globalThis.comfyDrawing = { Drawing, read, extend, draw, outlines, snap, frameOf, STEP };
})();
