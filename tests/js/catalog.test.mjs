import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import "../../assets/js/catalog.js";

function catalog(entries) {
  const loaded = new globalThis.ComfyCatalog();
  loaded.load(entries);
  return loaded;
}

test("translate keeps the spaces around a text", () => {
  assert.equal(catalog({ Queue: "Warteschlange" }).translate(" Queue\n"), " Warteschlange\n");
});

test("translate fills placeholders and translates their texts", () => {
  const german = catalog({ "Cancel: {1}": "Abbrechen: {1}", Landscape: "Querformat" });
  assert.equal(german.translate("Cancel: Landscape"), "Abbrechen: Querformat");
  assert.equal(german.translate("Cancel: a fox"), "Abbrechen: a fox");
});

test("translate takes {1#} for numbers only", () => {
  const german = catalog({ "{1#} fields": "{1} Felder" });
  assert.equal(german.translate("1,200 fields"), "1,200 Felder");
  assert.equal(german.translate("No fields"), "No fields");
});

test("translate prefers the pattern with the most fixed text", () => {
  const german = catalog({ "{1} has no values": "{1} ohne Werte", "'{1}' has no values": "„{1}“ ohne Werte" });
  assert.equal(german.translate("'Seed' has no values"), "„Seed“ ohne Werte");
});

test("translate does not translate its own results", () => {
  const german = catalog({ Art: "Kunst", Kind: "Art" });
  assert.equal(german.translate(german.translate("Kind")), "Art");
});

test("missed lists texts without a translation, but no numbers, signs and code", () => {
  const german = catalog({ Queue: "Warteschlange" });
  for (const text of ["Hello", "12", "×", '{"a": "json"}']) assert.equal(german.translate(text), text);
  assert.deepEqual([...german.missed], ["Hello"]);
});

test("translate finds every text of each shipped locale", () => {
  const folder = new URL("../../assets/locales/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
  assert.ok(files.length >= 3);
  for (const name of files) {
    const entries = JSON.parse(readFileSync(new URL(name, folder), "utf8"));
    for (const [english, translation] of Object.entries(entries)) {
      if (english.includes("{")) continue;
      assert.equal(catalog(entries).translate(english), translation, `${name}: ${english}`);
    }
  }
});
