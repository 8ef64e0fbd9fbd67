// @ts-check
// The login page: sends the username and password, then loads the page with the cookie of the login.
"use strict";
(() => {
  const { $, load } = window.comfy.kit;
  const form = $(".login form");
  const problem = $("[role=alert]", form);
  const button = $("button", form);

  // Gradio does this on the page itself.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.body.classList.toggle("dark", load("comfy-ui.theme", system.matches ? "dark" : "light") === "dark");
  system.addEventListener("change", paint);
  paint();

  /** @param {Response | null} answer */
  async function reason(answer) {
    if (!answer) return "Connection lost";
    if (answer.status === 400) return "Wrong username or password";
    const { error, detail } = await answer.json().catch(() => ({}));
    return error ?? detail ?? "That did not work";
  }
  // The code of an invitation stands behind "#", which no server sees.
  const invitation = () => new URLSearchParams(location.hash.slice(1)).get("invitation");
  function shape() {
    const invited = Boolean(invitation());
    $(".invited").hidden = !invited;
    button.textContent = window.comfy.translated(invited ? "Create login" : "Log in");
    form.elements.password.autocomplete = invited ? "new-password" : "current-password";
    if (invited) form.elements.password.minLength = 8;
    else form.elements.password.removeAttribute("minlength");
  }
  addEventListener("hashchange", shape);
  shape();

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  const send = (path, options) => fetch(path, { method: "POST", ...options }).catch(() => null);
  /** Create the login of an invitation. @param {Record<string, string>} login */
  async function accept(login) {
    const body = JSON.stringify({ code: invitation(), ...login });
    const answer = await send("invitation", { body, headers: { "Content-Type": "application/json" } });
    if (answer?.ok) {
      history.replaceState(null, "", location.pathname + location.search);
      shape(); // if the login below fails, it is an ordinary one that is tried again
    }
    return answer;
  }
  form.addEventListener("submit", async (/** @type {On<SubmitEvent>} */ event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    const login = { username: form.elements.username.value, password: form.elements.password.value };
    let answer = invitation() ? await accept(login) : null;
    if (!answer || answer.ok) {
      const path = form.elements.remember.checked ? "login?remember=1" : "login";
      answer = await send(path, { body: new URLSearchParams(login) });
      if (answer?.ok) return location.reload();
    }
    problem.textContent = await reason(answer);
    button.disabled = false;
    form.elements.password.select();
  });
})();
