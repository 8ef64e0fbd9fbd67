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
    return (await answer.json().catch(() => ({}))).detail ?? "That did not work";
  }
  form.addEventListener("submit", async (/** @type {On<SubmitEvent>} */ event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    const { username, password } = form.elements;
    const body = new URLSearchParams({ username: username.value, password: password.value });
    const answer = await fetch("login", { method: "POST", body }).catch(() => null);
    if (answer?.ok) return location.reload();
    problem.textContent = await reason(answer);
    button.disabled = false;
    password.select();
  });
})();
