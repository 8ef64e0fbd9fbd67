// Generate: each press goes to the server as the form was at that moment, one after the other.
"use strict";
(() => {
  const { $, make, named, insist, post, remember, saveDraft, smooth } = window.comfy.kit;

  let front = false;
  let editing = null; // the waiting job whose place the next request takes

  function request() {
    const asked = { ...JSON.parse(window.comfy.current()), ...window.comfy.series(), front, replaces: editing };
    edit(null);
    front = false;
    remember(asked.prompt);
    saveDraft();
    if (matchMedia("(max-width: 860px)").matches) $("#stage-area")?.scrollIntoView({ behavior: smooth(), block: "start" });
    return asked;
  }
  function edit(job) {
    editing = job;
    $("#editing")?.remove();
    if (!job) return;
    const leave = make("button", { type: "button", className: "act", textContent: "Leave it as it is", onclick: () => edit(null) });
    const told = make("p", {}, make("strong", { textContent: "You are changing a waiting job. " }), "Generate puts the changed one in its place.");
    $("#actions").before(make("div", { id: "editing", className: "notice good", role: "status" }, told, leave));
  }

  // Gradio's events may overtake each other and read the form later than the press: it only draws
  // what came of a press. The next press waits for the answer to the one before.
  const pressed = []; // not answered yet
  let outcomes = []; // not drawn yet
  let unanswered = null; // the press whose answer was lost: whether it arrived is not known
  let sending = Promise.resolve();
  async function send() {
    const [asked] = pressed;
    if (!asked) return; // the page was left, and all have been sent
    const words = JSON.stringify(asked);
    asked.press = unanswered?.words === words ? unanswered.press : named();
    const outcome = await insist("create/press", asked);
    if (pressed[0] === asked) pressed.shift();
    unanswered = outcome ? null : { words, press: asked.press };
    if (outcome) outcomes.push(outcome);
    else if (asked.replaces) edit(asked.replaces); // the next try still takes its place
  }
  document.addEventListener(
    "click",
    (event) => {
      if (!event.target.closest?.("#generate:not(:disabled)")) return;
      pressed.push(request());
      sending = sending.then(send);
    },
    true,
  );
  addEventListener("pagehide", () => {
    for (const asked of pressed.splice(0)) post("create/press", asked);
  });

  async function outcome() {
    await sending;
    const told = outcomes;
    outcomes = [];
    return JSON.stringify(told);
  }
  function press({ first = false } = {}) {
    const button = $("#generate");
    if (!button || button.disabled || button.offsetParent === null) return;
    front = first;
    button.click();
  }
  Object.assign(window.comfy, { edit, press, request, outcome });
})();
