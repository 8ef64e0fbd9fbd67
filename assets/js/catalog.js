// @ts-check
// Looks up translations of English texts. No DOM, so that `node --test` can load this file.
"use strict";
(() => {
  const PLACEHOLDER = /\{(\d)(#?)\}/g; // {1} stands for any text, {1#} for a number
  const CACHE_SIZE = 3000;

  /** Translations of one language, by their English texts. */
  class Catalog {
    /** @type {Map<string, string>} */
    #exact = new Map();
    /** @type {{ regex: RegExp, order: string[], translation: string, fixedLength: number }[]} */
    #patterns = [];
    /** @type {Map<string, string | null>} */
    #cache = new Map();
    /** @type {Set<string>} */
    #translations = new Set();
    /** Texts without a translation. @type {Set<string>} */
    missed = new Set();

    /** @param {Record<string, string>} entries */
    load(entries) {
      for (const [english, translation] of Object.entries(entries)) {
        const placeholders = [...english.matchAll(PLACEHOLDER)];
        if (!placeholders.length) {
          this.#exact.set(english, translation);
          continue;
        }
        const source = english
          .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
          .replace(PLACEHOLDER, (_, number, digits) => (digits ? "([\\d.,]+)" : "([^]+?)"));
        this.#patterns.push({
          regex: new RegExp(`^${source}$`),
          order: placeholders.map(([, number]) => number),
          translation,
          fixedLength: english.replace(PLACEHOLDER, "").length,
        });
      }
      // The pattern with the most fixed text is the most specific one.
      this.#patterns.sort((one, other) => other.fixedLength - one.fixedLength);
      this.#cache.clear();
    }

    get isEmpty() {
      return !this.#exact.size && !this.#patterns.length;
    }

    /**
     * @param {string} text
     * @returns {string | null}
     */
    #lookUp(text) {
      const exact = this.#exact.get(text);
      if (exact !== undefined) return exact;
      for (const { regex, order, translation } of this.#patterns) {
        const match = regex.exec(text);
        if (!match) continue;
        // A placeholder's text may have a translation of its own.
        return translation.replace(/\{(\d)\}/g, (_, number) => {
          const part = match[order.indexOf(number) + 1];
          return this.#lookUp(part) ?? part;
        });
      }
      return null;
    }

    /**
     * The translation of a text, with its spaces around it; the text itself where there is none.
     * @param {string} text
     * @returns {string}
     */
    translate(text) {
      const bare = text.trim();
      // Signs, numbers and code are the same in every language.
      if (this.isEmpty || !/\p{L}{2}/u.test(bare) || bare.startsWith("{") || this.#translations.has(bare)) return text;
      let translation = this.#cache.get(bare);
      if (translation === undefined) {
        if (this.#cache.size > CACHE_SIZE) for (const memory of [this.#cache, this.#translations, this.missed]) memory.clear();
        translation = this.#lookUp(bare);
        this.#cache.set(bare, translation);
        if (translation === null) this.missed.add(bare);
        else this.#translations.add(translation);
      }
      return translation === null ? text : text.replace(bare, () => translation);
    }
  }

  globalThis.ComfyCatalog = Catalog;
})();
