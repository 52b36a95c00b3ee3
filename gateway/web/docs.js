// Starts Swagger UI; a file of its own, so that the page needs no inline script.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});

// Swagger UI leaves these without a name for screen readers.
const NAMES = { 'input[type="file"]': "Photo", ".examples-select-element": "Example", ".content-type": "Media type" };
new MutationObserver(() => {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const control of document.querySelectorAll(`${selector}:not([aria-label])`)) control.ariaLabel = name;
  }
}).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });
