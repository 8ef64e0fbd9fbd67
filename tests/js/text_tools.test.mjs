import assert from "node:assert/strict";
import { test } from "node:test";

import "../../assets/js/text_tools.js";

const { countTokens, mergeStyle, mergeStyles, findStyles, withoutStyle, swapNegative, changeWeight, promptParts, termAt, quoteEntry, splitEntries, gridTotal } = globalThis.comfyText;

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

const NEGATIVE = { before: "", after: "", negative: "blurry" };
const joined = ({ before, words, after }) => before + words + after;

test("findStyles finds a style of which another is a part once", () => {
  assert.deepEqual(findStyles(" comic panel of a fox, flat colours ", "", [INK, COMIC]), [COMIC]);
  assert.deepEqual(findStyles("a fox, flat colours", "", [INK, COMIC]), [INK]);
});

test("findStyles finds no style without all of its text", () => {
  assert.deepEqual(findStyles("a comic panel of a fox", "", [COMIC, { before: "", after: "" }]), []);
  assert.deepEqual(findStyles("", "", [COMIC]), []);
  assert.deepEqual(findStyles("a fox", "hands, blurry", [COMIC, NEGATIVE]), [NEGATIVE]);
});

test("withoutStyle gets the prompt of every merged style back", () => {
  for (const style of [COMIC, INK, { before: "photo of ", after: "" }]) {
    const merged = mergeStyle("a fox", style).join("");
    assert.deepEqual(findStyles(merged, "", [style]), [style]);
    assert.equal(withoutStyle(merged, style), "a fox");
  }
});

test("withoutStyle keeps words that were added behind the style", () => {
  assert.equal(withoutStyle("comic panel of a fox, flat colours, at dusk", COMIC), "a fox, at dusk");
});

test("mergeStyles combines styles that can be taken off in any order", () => {
  const dusk = { before: "at dusk, ", after: ". Grain." };
  const styles = [COMIC, dusk];
  const merged = joined(mergeStyles("a fox.", styles));
  assert.equal(merged, "at dusk, comic panel of a fox, flat colours. Grain.");
  assert.deepEqual(new Set(findStyles(merged, "", styles)), new Set(styles));
  assert.equal(withoutStyle(merged, dusk), "comic panel of a fox, flat colours");
  assert.equal(withoutStyle(withoutStyle(merged, COMIC), dusk), "a fox");
  const both = joined(mergeStyles("a fox", [dusk, COMIC]));
  assert.equal(both, "comic panel of at dusk, a fox. Grain, flat colours");
  assert.deepEqual(new Set(findStyles(both, "", styles)), new Set(styles));
});

const kinds = (text) => promptParts(text).filter(({ kind }) => kind).map(({ kind, text: part }) => [kind, part]);

test("promptParts marks the syntax and leaves the text whole", () => {
  assert.deepEqual(kinds("a (red:1.2) fox <lora:ink:0.8>, __animals/*__ BREAK embedding:bad_hands"), [
    ["weight", "(red:1.2)"], ["lora", "<lora:ink:0.8>"], ["wildcard", "__animals/*__"], ["break", "BREAK"], ["embedding", "embedding:bad_hands"],
  ]);
  assert.deepEqual(kinds("[[a, b]] {red|{x|y}} {2$$__c__}"), [
    ["array", "[[a, b]]"], ["choice", "{"], ["choice", "|{"], ["choice", "|"], ["choice", "}}"], ["choice", "{"], ["wildcard", "__c__"], ["choice", "}"],
  ]);
  for (const text of ["", "a", "(a:1) b", "{|", "((x:1.1) y:1.2)"]) assert.equal(promptParts(text).map((part) => part.text).join(""), text);
});

test("promptParts leaves plain brackets and marks a brace that is open", () => {
  assert.deepEqual(kinds("miku \\(vocaloid\\), (cat), {as it is}, [[word]], <b>"), []);
  assert.deepEqual(kinds("{red|blue fox"), [["unclosed", "{"]]);
  assert.deepEqual(kinds("(a (b:1.1) c:1.3)"), [["weight", "(a (b:1.1) c:1.3)"]]);
});

test("promptParts is linear in the text", () => {
  const text = "({<[__".repeat(3000);
  assert.equal(promptParts(text).map((part) => part.text).join(""), text);
});

test("termAt says what is typed before the cursor", () => {
  const at = (text) => termAt(text, text.length);
  assert.deepEqual(at("a fox, long ha"), { kind: "", query: "long ha", start: 7 });
  assert.deepEqual(at("a fox <lora:in"), { kind: "lora", query: "in", start: 6 });
  assert.deepEqual(at("a <lo"), { kind: "lora", query: "", start: 2 });
  assert.deepEqual(at("__a__, __co"), { kind: "wildcard", query: "co", start: 7 });
  assert.deepEqual(at("x embedding:ba"), { kind: "embedding", query: "ba", start: 2 });
  assert.deepEqual(at("(red:1.2), {ha"), { kind: "", query: "ha", start: 12 });
  for (const text of ["", "a", "a fox, ", "fox ", "<lora:x:0.", "<b", "__a__"]) assert.equal(at(text), null, text);
  assert.equal(termAt("long hair", 6), null);
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
