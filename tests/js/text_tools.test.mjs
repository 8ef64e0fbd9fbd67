import assert from "node:assert/strict";
import { test } from "node:test";

import "../../assets/js/text_tools.js";

const { countTokens, mergeStyle, splitStyle, swapNegative, changeWeight, quoteEntry, splitEntries, gridTotal } = globalThis.comfyText;

test("countTokens counts short words as one token each", () => {
  assert.equal(countTokens("a red fox", "clip"), 3);
  assert.equal(countTokens("", "clip"), 0);
});

test("countTokens ignores LoRA tags, weights and BREAK", () => {
  assert.equal(countTokens("(red:1.2) fox <lora:x:0.5> BREAK", "clip"), countTokens("red fox", "clip"));
});

test("countTokens counts Chinese characters by encoder", () => {
  assert.equal(countTokens("山水", "clip"), 4);
  assert.equal(countTokens("山水", "t5"), 2);
});

test("countTokens splits long words", () => {
  assert.equal(countTokens("incomprehensibilities", "clip"), 4);
});

test("mergeStyle replaces the prompt's last comma by the style's own", () => {
  assert.deepEqual(mergeStyle(" a fox, ", { before: "photo of ", after: ", 35 mm" }), ["photo of ", "a fox", ", 35 mm"]);
  assert.deepEqual(mergeStyle("a fox.", { before: "", after: "at dusk " }), ["", "a fox.", "at dusk"]);
});

const COMIC = { before: "comic panel of ", after: ", flat colours" };
const INK = { before: "", after: ", flat colours" };

test("splitStyle finds the style with the most text around a prompt", () => {
  assert.deepEqual(splitStyle(" comic panel of a fox, flat colours ", [INK, COMIC]), { style: COMIC, words: "a fox" });
  assert.deepEqual(splitStyle("a fox, flat colours", [INK, COMIC]), { style: INK, words: "a fox" });
});

test("splitStyle returns a prompt without a style as it is", () => {
  assert.deepEqual(splitStyle("a comic panel of a fox", [COMIC, { before: "", after: "" }]), { style: null, words: "a comic panel of a fox" });
  assert.deepEqual(splitStyle("", [COMIC]), { style: null, words: "" });
});

test("splitStyle gets the prompt of every merged style back", () => {
  for (const style of [COMIC, INK, { before: "photo of ", after: "" }]) {
    assert.deepEqual(splitStyle(mergeStyle("a fox", style).join(""), [style]), { style, words: "a fox" });
  }
});

test("swapNegative exchanges a style's words and keeps the user's", () => {
  assert.equal(swapNegative("hands, photo, 3d", "photo, 3d", "blurry"), "hands, blurry");
  assert.equal(swapNegative("photo, 3d, hands", "photo, 3d", ""), "hands");
  assert.equal(swapNegative("hands,", "", "blurry"), "hands, blurry");
  assert.equal(swapNegative("blurry, hands", "", "blurry"), "blurry, hands");
  assert.equal(swapNegative("", "photo", ""), "");
});

test("changeWeight puts the word at the cursor into parentheses", () => {
  assert.deepEqual(changeWeight("a red fox", 3, 3, 0.05), { text: "(red:1.05)", start: 2, end: 5 });
});

test("changeWeight changes a weight that is there and removes 1", () => {
  assert.deepEqual(changeWeight("a (red:1.05) fox", 4, 4, 0.05), { text: "(red:1.1)", start: 2, end: 12 });
  assert.deepEqual(changeWeight("a (red:1.05) fox", 4, 4, -0.05), { text: "red", start: 2, end: 12 });
});

test("changeWeight leaves the spaces of a selection outside", () => {
  assert.deepEqual(changeWeight("a red fox ", 1, 10, 0.05), { text: "(red fox:1.05)", start: 2, end: 9 });
});

test("changeWeight returns null between commas", () => {
  assert.equal(changeWeight("a , b", 3, 3, 0.05), null);
});

test("splitEntries reads what quoteEntry writes", () => {
  const values = ["plain", "with, comma", 'with "quotes"', "两个"];
  assert.deepEqual(splitEntries(values.map(quoteEntry).join(", ")), values);
});

test("splitEntries drops empty entries", () => {
  assert.deepEqual(splitEntries(" 8, , 12,"), ["8", "12"]);
});

test("gridTotal says the count of results", () => {
  assert.equal(gridTotal(3, 2, 6), "3 × 2 = 6 results");
  assert.equal(gridTotal(3, 1, 3), "3 results");
  assert.equal(gridTotal(1, 1, 1), "1 result");
  assert.equal(gridTotal(3, 3, 36), "9 jobs, 36 results");
});
