const dark = matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

const reference = SwaggerUIBundle({
  url: "/docs/openapi.yaml",
  dom_id: "#reference",
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  // The reference uses the access token of the latest login or refresh, so that nobody has to copy it.
  responseInterceptor(response) {
    const token = response.ok && response.body?.access_token;
    if (token) {
      reference.preauthorizeApiKey("accessToken", token);
      reference.authActions.persistAuthorizationIfNeeded();
    }
    return response;
  },
});

// Swagger UI gives screen readers no name for some elements, or one that differs from the visible text, and the keyboard
// cannot scroll its examples.
const repair = (selector, change) => {
  for (const element of document.querySelectorAll(`${selector}:not([data-repaired])`)) {
    element.dataset.repaired = "";
    change(element);
  }
};
const name = (selector, nameOf) =>
  repair(selector, (element) => element.setAttribute("aria-label", nameOf(element)));
const repairAll = () => {
  name(".body-param__text", () => "Request body");
  name(".copy-to-clipboard button", () => "Copy");
  name(".close-modal", () => "Close");
  name(".modal-btn", (button) => button.textContent);
  name("tr[data-param-name] select", (select) => select.closest("tr").dataset.paramName);
  repair("pre", (example) => (example.tabIndex = 0));
};
const changes = { childList: true, subtree: true };
new MutationObserver(repairAll).observe(document.querySelector("#reference"), changes);
