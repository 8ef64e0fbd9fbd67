// @ts-check
// The time that a press of Generate would take, under the button. It is asked for when the settings or
// the queue have changed, and every few seconds while other jobs go first; it comes from what earlier
// jobs took.
"use strict";
(() => {
  const { $, make } = window.comfy.kit;
  const QUIET_MS = 700;
  const AGE_MS = 4000; // of a start that is shown; the card beside it counts down

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = ""; // the settings that the shown estimate is for
  let latest = 0; // the number of the newest request

  // The prompt changes with every key, and hardly the time.
  function settings() {
    const { preset, values } = JSON.parse(window.comfy.current());
    return JSON.stringify({ preset, values, prompt: "", ...window.comfy.series() });
  }
  async function estimate() {
    if (!$("#actions")?.getClientRects().length) return; // another tab is open
    if (!$("form.settings")) return; // its island asks as soon as it is there
    if (document.hidden) return soon(AGE_MS);
    const body = (asked = settings());
    const number = ++latest;
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("create/estimate", { method: "POST", headers, body }).catch(() => null);
    const { texts = [], changes = false } = answer?.ok ? await answer.json().catch(() => ({})) : {};
    if (number !== latest) return; // a newer request is under way
    line()?.replaceChildren(...texts.map((/** @type {string} */ text) => make("span", { textContent: text })));
    if (changes) soon(AGE_MS);
  }
  // It is there before its text, so that nothing below moves down.
  function line() {
    if (!$("#estimate")) $("#actions")?.after(make("p", { id: "estimate", className: "quiet" }));
    return $("#estimate");
  }
  function soon(delayMs = QUIET_MS) {
    line();
    clearTimeout(timer);
    timer = setTimeout(estimate, delayMs);
  }
  const changed = () => settings() !== asked && soon();
  document.addEventListener("input", changed);
  document.addEventListener("click", () => setTimeout(changed), true); // dice, steppers, the menu
  window.comfy.onIsland((island) => island.closest("#form") && soon());
  window.comfy.estimate = () => soon();
})();
