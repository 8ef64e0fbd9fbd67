// @ts-check
// Generate: each press is posted with the form as it was at that moment, one after the other.
"use strict";
(() => {
  const { $, make, named, insist, post, remember, saveDraft, load, save } = window.comfy.kit;
  const EDITING = "comfy-ui.editing";

  let front = false;
  /** The waiting job that the next request replaces. @type {string | null} */
  let editing = null;

  function request() {
    const asked = { ...JSON.parse(window.comfy.current()), ...window.comfy.series(), front, replaces: editing };
    edit(null);
    front = false;
    remember(asked.prompt);
    saveDraft();
    return asked;
  }
  /** Let the next press replace a waiting job; null ends this. @param {string | null} job */
  function edit(job) {
    editing = job;
    save(EDITING, job);
    $("#editing")?.remove();
    if (!job) return;
    const leave = make("button", { type: "button", className: "act", textContent: "Cancel editing", onclick: () => edit(null) });
    const message = make("p", {}, make("strong", { textContent: "Editing a queued job. " }), "Generate replaces it.");
    $("#actions").before(make("div", { id: "editing", className: "notice good", role: "status" }, message, leave));
  }

  // Not a Gradio event: two of those may overtake each other, and they read the form later than the
  // press. Each press waits for the answer to the previous one.
  /** Presses without an answer yet. @type {Record<string, any>[]} */
  const pressed = [];
  /** The press whose answer was lost, so that it may have arrived. @type {{ words: string, press: string } | null} */
  let unanswered = null;
  /** @type {Promise<any>} */
  let sending = Promise.resolve();
  async function send() {
    const [asked] = pressed;
    if (!asked) return null; // the page was left, which has sent all of them
    const words = JSON.stringify(asked);
    asked.press = unanswered?.words === words ? unanswered.press : named();
    const answer = await insist("create/press", asked);
    if (pressed[0] === asked) pressed.shift();
    unanswered = answer ? null : { words, press: asked.press };
    if (answer) {
      notice(answer.notice);
      window.comfy.outlineLora(answer.lora);
      window.comfy.queued(answer);
      if (answer.editing) edit(answer.editing); // refused: the next try still replaces it
    } else if (asked.replaces) edit(asked.replaces); // the next try still replaces it
    return answer;
  }
  document.addEventListener(
    "click",
    (/** @type {On<MouseEvent>} */ event) => {
      if (!event.target.closest?.("#generate:not(:disabled)")) return;
      pressed.push(request());
      window.comfy.showPlace("results");
      sending = sending.then(send);
    },
    true,
  );
  addEventListener("pagehide", () => {
    for (const asked of pressed.splice(0)) post("create/press", asked);
  });

  /**
   * Shows a notice above the buttons instead of the one that came with the form.
   * @param {string} html
   */
  function notice(html) {
    $("#generate-notice")?.remove();
    $("#notice .island").style.display = "none";
    if (!html) return;
    $("#notice").append(make("div", { id: "generate-notice", innerHTML: html }));
    if ($("#generate-notice .notice:not(.good)")) window.comfy.showPlace("inputs");
  }
  window.comfy.onIsland((island) => {
    if (!island.closest("#form, #notice") || !$("#notice .island")) return;
    $("#generate-notice")?.remove();
    $("#notice .island").style.display = "";
  });
  // The draft of a job that is being edited survives a reload, so the job to replace does, too.
  let restored = false;
  window.comfy.onIsland((island) => {
    if (restored || !island.closest("#form") || !$("#actions")) return;
    restored = true;
    const job = load(EDITING, null);
    if (job) edit(job);
  });
  function press({ first = false } = {}) {
    const button = $("#generate");
    if (!button || button.disabled || button.offsetParent === null) return;
    front = first;
    button.click();
  }
  /** Sends the form again, from whichever tab is open; returns the id of the job. */
  async function repeat() {
    pressed.push(request());
    const answer = (sending = sending.then(send));
    return (await answer)?.job;
  }
  Object.assign(window.comfy, { edit, press, repeat, request, notice });
})();
