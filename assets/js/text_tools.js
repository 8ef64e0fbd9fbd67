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
   * Find the style that was put around a prompt; of several, the one with the most text.
   * @template {{ before: string, after: string }} T
   * @param {string} prompt
   * @param {T[]} styles
   * @returns {{ style: T | null, words: string }} the style, and the prompt without it
   */
  function splitStyle(prompt, styles) {
    const trimmed = prompt.trim();
    /** @type {{ style: T | null, words: string }} */
    let shortest = { style: null, words: trimmed };
    for (const style of styles) {
      const [before, , after] = mergeStyle("", style);
      const words = trimmed.slice(before.length, trimmed.length - after.length || undefined);
      if (before + words + after === trimmed && words.length < shortest.words.length) shortest = { style, words };
    }
    return shortest;
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

  globalThis.comfyText = { countTokens, mergeStyle, splitStyle, swapNegative, changeWeight, quoteEntry, splitEntries, gridTotal };
})();
