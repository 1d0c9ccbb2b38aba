"use strict";
const form = document.querySelector("form");
const field = document.getElementById("new_password");
const error = document.getElementById("error");
const outcome = document.getElementById("outcome");
const token = new URLSearchParams(location.search).get("token");
// Another user of this device must not find the unused token in the history.
history.replaceState(null, "", location.pathname);
const messages = new Map();
for (const text of document.querySelector("template").content.querySelectorAll("[data-code]")) {
  messages.set(text.dataset.code, text.textContent);
}

// Replaces the form: there is nothing more to do on this page.
function finish(code) {
  form.reset();
  form.hidden = true;
  outcome.textContent = messages.get(code);
  outcome.className = code === "done" ? "done" : "failed";
  outcome.hidden = false;
  outcome.focus();
}

// Shows what is wrong. The user can try again.
function refuse(codes) {
  const known = codes.filter((code) => messages.has(code));
  const shown = known.length > 0 ? known : ["other"];
  error.textContent = shown.map((code) => messages.get(code)).join(" ");
}

// Posts the token. Returns the problem, or null if there is none. Only 204 is a success: a firewall or a captive portal
// may answer with 200.
async function post() {
  try {
    const response = await fetch(form.action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    return response.status === 204 ? null : ((await response.json()) ?? {});
  } catch {
    // There is no response, or it is not JSON.
    return {};
  }
}

let busy = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  busy = true;
  error.textContent = "";
  field?.removeAttribute("aria-invalid");
  const problem = await post();
  busy = false;
  if (problem === null) {
    finish("done");
  } else if (problem.code === "invalid_code" || problem.code === "already_exists") {
    finish(problem.code);
  } else {
    const rules = Array.isArray(problem.errors) ? problem.errors.map((rule) => rule?.code) : [];
    refuse(rules.length > 0 ? rules : [problem.code]);
    if (rules.length > 0) {
      field?.setAttribute("aria-invalid", "true");
      field?.focus();
    }
  }
});
document.getElementById("show")?.addEventListener("change", (event) => {
  field.type = event.target.checked ? "text" : "password";
});

if (token) {
  form.hidden = false;
} else {
  finish("invalid_code");
}
