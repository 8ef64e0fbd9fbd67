import assert from "node:assert/strict";
import { test } from "node:test";

import "../../assets/js/canvas_drawing.js";

const { Drawing, read, extend, draw, outlines, snap, frameOf } = globalThis.comfyDrawing;
const brush = (more = {}) => ({ kind: "brush", layer: "mask", color: "#000000", size: 10, points: [1, 2, 3, 4], ...more });

/** A 2D context that writes down its calls. */
function pen() {
  const calls = [];
  const note = (name) => (...values) => calls.push([name, ...values]);
  const names = ["beginPath", "moveTo", "lineTo", "stroke", "fill", "fillRect", "clearRect"];
  return { calls, ...Object.fromEntries(names.map((name) => [name, note(name)])) };
}

test("Drawing undoes and redoes, and a new stroke ends redo", () => {
  const drawing = new Drawing();
  drawing.add(brush());
  drawing.add({ kind: "invert", layer: "mask", color: "#000000" });
  drawing.undo();
  assert.deepEqual([drawing.ops.length, drawing.canUndo, drawing.canRedo], [1, true, true]);
  drawing.redo();
  assert.equal(drawing.ops[1].kind, "invert");
  drawing.undo();
  drawing.add(brush());
  assert.equal(drawing.canRedo, false);
});

test("Drawing.has ignores erased and cleared layers", () => {
  const drawing = new Drawing();
  drawing.add(brush({ kind: "erase" }));
  assert.equal(drawing.has("mask"), false);
  drawing.add(brush());
  assert.deepEqual([drawing.has("mask"), drawing.has("sketch")], [true, false]);
  drawing.add({ kind: "clear", layer: "mask", color: "#000000" });
  assert.equal(drawing.has("mask"), false);
});

test("read gives back what text has written and refuses anything else", () => {
  const drawing = new Drawing({ feather: 7 });
  drawing.add(brush({ widths: [0.5, 1] }));
  const back = read(JSON.parse(drawing.text("ui-1.png")));
  assert.deepEqual([back.base, back.drawing.feather, back.drawing.ops], ["ui-1.png", 7, drawing.ops]);
  const hostile = [
    null, 5, {}, { base: "x", ops: {} }, { base: "x", ops: [{ kind: "run" }] },
    { base: "x", ops: [brush({ points: ["1", 2] })] }, { base: "x", ops: [brush({ points: [1] })] }, { base: "x", ops: [brush({ size: -1 })] },
  ];
  for (const data of hostile) assert.equal(read(data), null);
  assert.equal(read({ base: "x", ops: [{ kind: "fill", layer: "sketch", color: "url(x)" }] }).drawing.ops[0].color, "#000000");
});

test("text of a drawing that is too long to keep is empty", () => {
  const points = Array.from({ length: 300_000 }, (_, at) => at);
  assert.equal(new Drawing({ ops: [brush({ points })] }).text("x"), "");
});

test("extend leaves out points that cannot be seen", () => {
  const op = brush({ points: [], size: 48 });
  for (let x = 0; x <= 100; x += 0.5) extend(op, x, 0, { scale: 1 });
  assert.equal(op.points.length / 2, 51);
});

test("draw of a growing stroke draws only what is new", () => {
  const op = brush({ points: Array.from({ length: 2000 }, (_, at) => at) });
  const [whole, rest] = [pen(), pen()];
  draw(whole, op, { width: 9, height: 9, ink: "#fff" });
  draw(rest, op, { width: 9, height: 9, ink: "#fff" }, 997);
  assert.equal(whole.calls.filter(([name]) => name === "lineTo").length, 999);
  assert.equal(rest.calls.filter(([name]) => name === "lineTo").length, 2);
});

test("draw inverts by xor and gives each part of a pen's stroke its width", () => {
  const inverted = pen();
  draw(inverted, { kind: "invert", layer: "mask", color: "#000000" }, { width: 4, height: 3, ink: "#fff" });
  assert.deepEqual([inverted.globalCompositeOperation, inverted.calls], ["xor", [["fillRect", 0, 0, 4, 3]]]);
  const pressed = pen();
  draw(pressed, brush({ points: [0, 0, 5, 5, 9, 9], widths: [1, 0.5, 0.2] }), { width: 9, height: 9, ink: "#fff" });
  assert.equal(pressed.calls.filter(([name]) => name === "stroke").length, 2);
  assert.equal(pressed.lineWidth, 2);
});

test("the frame snaps to 8 pixels and surrounds the image", () => {
  assert.deepEqual([snap(13, 2048), snap(-5, 2048), snap(9999, 2048)], [16, 0, 2048]);
  assert.deepEqual(frameOf(1, { width: 1024, height: 768 }, 2048), { left: 0, top: 128, right: 0, bottom: 128 });
  assert.deepEqual(frameOf(16 / 9, { width: 1024, height: 1024 }, 2048), { left: 400, top: 0, right: 400, bottom: 0 });
});

test("outlines goes around areas and holes, once each, and read keeps them", () => {
  const [width, height] = [40, 30];
  const data = new Uint8ClampedArray(4 * width * height);
  const light = (x, y) => x >= 5 && x < 25 && y >= 5 && y < 25 && !(x >= 10 && x < 20 && y >= 10 && y < 20);
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) if (light(x, y)) data[4 * (y * width + x)] = 255;
  const loops = outlines({ data, width, height }, 2);
  assert.equal(loops.length, 2);
  // The area of a polygon; the corners are cut by half a pixel.
  const area = (loop) => {
    let sum = 0;
    for (let at = 0; at < loop.length; at += 2) {
      const next = (at + 2) % loop.length;
      sum += loop[at] * loop[next + 1] - loop[next] * loop[at + 1];
    }
    return Math.abs(sum / 2);
  };
  assert.ok(Math.abs(area(loops[0]) - 1600) < 5 && Math.abs(area(loops[1]) - 400) < 5);
  assert.deepEqual(outlines({ data: new Uint8ClampedArray(data.length), width, height }), []);
  const op = { kind: "area", layer: "mask", color: "#000000", loops };
  assert.deepEqual(read({ base: "a.png", ops: [op] }).drawing.ops, [op]);
  assert.equal(read({ base: "a.png", ops: [{ ...op, loops: [[1, "x"]] }] }), null);
});
