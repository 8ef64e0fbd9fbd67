// @ts-check
// Pure functions on prompts and lists of values. No DOM, so that `node --test` can load this file.
"use strict";
(() => {
  // ---- tokens: the same estimate as count_tokens in prompts/model_families.py ------------------

  const SYNTAX = /<[^<>]*>|:\s*[\d.]+\s*\)|[()\\]|\bBREAK\b/g;
  const PIECE = /[A-Za-z]+|\d|(?:(?!\d)[\p{L}\p{N}])+|[^\s\p{L}\p{N}_]+|_/gu;

  /**
   * @param {string} piece
   * @param {string} encoder
   */
  function pieceTokens(piece, encoder) {
    const length = [...piece].length;
    const first = piece.codePointAt(0) ?? 0;
    if (first >= 0x2e80) return encoder === "clip" ? 2 * length : length;
    if (first > 127) return encoder === "clip" ? length : Math.ceil(length / 2);
    return length <= 8 || !/^[A-Za-z]+$/.test(piece) ? 1 : 1 + Math.ceil((length - 8) / 5);
  }

  /**
   * Estimate how many tokens a text encoder reads.
   * @param {string} text
   * @param {string} encoder "clip", "t5" or another family's name
   * @returns {number}
   */
  function countTokens(text, encoder) {
    const pieces = text.replace(SYNTAX, " ").match(PIECE) ?? [];
    return pieces.reduce((sum, piece) => sum + pieceTokens(piece, encoder), 0);
  }

  /**
   * Put a style around a prompt, like merge_style in prompts/styles.py.
   * @param {string} prompt
   * @param {{ before: string, after: string }} style
   * @returns {[before: string, prompt: string, after: string]}
   */
  function mergeStyle(prompt, { before, after }) {
    const trimmed = prompt.trim();
    const middle = /^[,.]/.test(after) ? trimmed.replace(/[ ,.]+$/, "") : trimmed;
    return [before.trimStart(), middle, after.trimEnd()];
  }

  /**
   * Put several styles around a prompt, each around those before it.
   * @param {string} words
   * @param {{ before: string, after: string }[]} styles
   */
  function mergeStyles(words, styles) {
    let [before, after] = ["", ""];
    for (const style of styles) {
      const [first, middle, last] = mergeStyle(words, style);
      if (!after) words = middle;
      before = first + before;
      after = (/^[,.]/.test(last) ? after.replace(/[ ,.]+$/, "") : after) + last;
    }
    return { before, words, after };
  }
  /**
   * Find the styles whose text a prompt has, wherever words were added since; long ones first.
   * @template {{ before: string, after: string, negative?: string }} T
   * @param {string} prompt
   * @param {string} negative
   * @param {T[]} styles
   * @returns {T[]}
   */
  function findStyles(prompt, negative, styles) {
    const size = (/** @type {T} */ { before, after }) => before.length + after.length;
    let rest = prompt;
    return [...styles].sort((one, other) => size(other) - size(one)).filter((style) => {
      if (!size(style)) return Boolean(style.negative && negative.includes(style.negative));
      const found = styleSpans(rest, style);
      // No other style is found in this one's text.
      for (const [start, end] of found ?? []) rest = rest.slice(0, start) + "\0".repeat(end - start) + rest.slice(end);
      return found !== null;
    });
  }
  /**
   * Where the two texts of a style are; null if the prompt lacks one.
   * @param {string} prompt
   * @param {{ before: string, after: string }} style
   * @returns {[start: number, end: number][] | null}
   */
  function styleSpans(prompt, style) {
    const [before, , after] = mergeStyle("", style);
    const short = after.replace(/[ ,.]+$/, "") || after; // as it is before another style's comma
    const first = prompt.indexOf(before);
    const last = prompt.lastIndexOf(short);
    if (first < 0 || last < first + before.length) return null;
    return [[first, first + before.length], [last, last + (prompt.startsWith(after, last) ? after : short).length]];
  }
  /**
   * Take a style's text out of a prompt.
   * @param {string} prompt
   * @param {{ before: string, after: string }} style
   */
  function withoutStyle(prompt, style) {
    const found = styleSpans(prompt, style);
    if (!found) return prompt;
    const [[start, end], [from, to]] = found;
    return (prompt.slice(0, start) + prompt.slice(end, from) + prompt.slice(to)).trim();
  }

  /**
   * Exchange a style's part of a negative prompt for another style's.
   * @param {string} negative
   * @param {string} removed
   * @param {string} added
   */
  function swapNegative(negative, removed, added) {
    const parts = removed ? negative.split(removed) : [negative];
    if (added && !parts.some((part) => part.includes(added))) parts.push(added);
    return parts.map((part) => part.replace(/^[ ,]+|[ ,]+$/g, "")).filter(Boolean).join(", ");
  }

  /**
   * Change the weight of the word at the cursor, or of the selection, by `step`.
   * @param {string} value
   * @param {number} start
   * @param {number} end
   * @param {number} step
   * @returns {{ text: string, start: number, end: number } | null} what replaces value[start:end]
   */
  function changeWeight(value, start, end, step) {
    let text;
    let weight = 1;
    const weighted = [...value.matchAll(/\(([^()]+):(-?[\d.]+)\)/g)];
    const around = weighted.find((match) => match.index <= start && end <= match.index + match[0].length);
    if (around) {
      [start, end] = [around.index, around.index + around[0].length];
      [text, weight] = [around[1], Number(around[2])];
    } else {
      if (start === end) {
        while (start > 0 && /[^\s,.()]/.test(value[start - 1])) start -= 1;
        while (end < value.length && /[^\s,.()]/.test(value[end])) end += 1;
      }
      const selected = value.slice(start, end);
      text = selected.trim();
      start += selected.indexOf(text);
      end = start + text.length;
    }
    if (!text) return null;
    weight = Math.round((weight + step) * 100) / 100;
    return { text: weight === 1 ? text : `(${text}:${weight})`, start, end };
  }

  // ---- the syntax of prompts: workflow/wildcards.py, workflow/loras/lora_tags.py, prompt_arrays.py ----

  const WILDCARD = /__(?!_)(?:[\w*][\w\-/*. ]{0,100}?)?[\w*]__/g;
  const PATTERNS = [
    ["array", /\[\[[^[\],]*(?:,[^[\],]*)+\]\]/g],
    ["embedding", /\bembedding:[\w\-./\\]+/gi],
    ["break", /\bBREAK\b/g],
    ["lora", /<lora:[^<>:]+(?::[^<>:]*){0,2}>/gi],
    ["wildcard", WILDCARD],
  ];
  const WEIGHT = /:\s*[-+]?[\d.]+\s*$/;

  /**
   * Split a prompt into pieces of plain text and of syntax.
   * @param {string} text
   * @returns {{ kind: string, text: string }[]} the kind is empty for plain text
   */
  function promptParts(text) {
    /** @type {string[]} */
    const kinds = new Array(text.length).fill("");
    const paint = (/** @type {string} */ kind, /** @type {number} */ start, /** @type {number} */ end) => kinds.fill(kind, start, end);
    /** @type {{ open: string, at: number, bars: number[] }[]} */
    const nested = [];
    for (let at = 0; at < text.length; at++) {
      const sign = text[at];
      if (sign === "\\") at += 1;
      else if (sign === "(" || sign === "{") nested.push({ open: sign, at, bars: [] });
      else if (sign === "|" && nested.at(-1)?.open === "{") nested.at(-1)?.bars.push(at);
      else if (sign === ")" && nested.at(-1)?.open === "(") {
        const start = nested.pop()?.at ?? 0;
        if (WEIGHT.test(text.slice(Math.max(start, at - 12), at))) for (let n = start; n <= at; n++) kinds[n] ||= "weight";
      } else if (sign === "}" && nested.at(-1)?.open === "{") {
        const { at: start, bars } = nested.pop() ?? { at, bars: [] };
        if (bars.length || text.slice(start, at).includes("$$")) for (const n of [start, ...bars, at]) kinds[n] = "choice";
      }
    }
    for (const { open, at, bars } of nested) if (open === "{" && bars.length) kinds[at] = "unclosed";
    for (const [kind, pattern] of PATTERNS) {
      for (const match of text.matchAll(/** @type {RegExp} */ (pattern))) paint(/** @type {string} */ (kind), match.index, match.index + match[0].length);
    }
    /** @type {{ kind: string, text: string }[]} */
    const parts = [];
    for (let start = 0, at = 1; at <= text.length; at++) {
      if (at < text.length && kinds[at] === kinds[start]) continue;
      parts.push({ kind: kinds[start], text: text.slice(start, at) });
      start = at;
    }
    return parts;
  }

  /**
   * What is being typed before the cursor, to be completed.
   * @param {string} text
   * @param {number} cursor
   * @returns {{ kind: string, query: string, start: number } | null} start: where a completed text begins
   */
  function termAt(text, cursor) {
    if (/^[\p{L}\p{N}]/u.test(text.slice(cursor, cursor + 1))) return null; // inside a word
    const before = text.slice(Math.max(0, cursor - 200), cursor).replace(WILDCARD, (name) => ",".repeat(name.length));
    const tag = /<([^<>:,\n]*)(?::([^<>:\n]*))?$/.exec(before);
    if (tag) {
      const [all, type, name] = tag;
      if (name === undefined ? !"lora".startsWith(type.toLowerCase()) : type.toLowerCase() !== "lora") return null;
      return { kind: "lora", query: name ?? "", start: cursor - all.length };
    }
    if (/<[^<>]*$/.test(before)) return null; // the weight of a tag
    const wildcard = /__([\w\-/.]{0,60})$/.exec(before);
    if (wildcard) return { kind: "wildcard", query: wildcard[1], start: cursor - wildcard[0].length };
    const embedding = /\bembedding:([\w\-./]*)$/i.exec(before);
    if (embedding) return { kind: "embedding", query: embedding[1], start: cursor - embedding[0].length };
    const query = (/[^,\n()[\]{}|<>:$]*$/.exec(before)?.[0] ?? "").trimStart();
    return query.trim().length < 2 || /\s$/.test(query) ? null : { kind: "", query, start: cursor - query.length };
  }

  // ---- lists of values, with commas between, as workflow/grid_axes.py reads them ----------------

  /** @param {string} value */
  const quoteEntry = (value) => (/[,"]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

  /** @param {string} text */
  const splitEntries = (text) =>
    text
      .split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/)
      .map((entry) => entry.trim().replace(/^"(.*)"$/, "$1").replaceAll('""', '"'))
      .filter(Boolean);

  /**
   * @param {number} columns
   * @param {number} rows
   * @param {number} results more than cells if a job makes several images
   */
  function gridTotal(columns, rows, results) {
    if (results !== columns * rows) return `${columns * rows} jobs, ${results} results`;
    if (rows > 1) return `${columns} × ${rows} = ${columns * rows} results`;
    return columns > 1 ? `${columns} results` : "1 result";
  }

  globalThis.comfyText = { countTokens, mergeStyle, mergeStyles, findStyles, withoutStyle, swapNegative, changeWeight, promptParts, termAt, quoteEntry, splitEntries, gridTotal };
})();
