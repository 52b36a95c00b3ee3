"""What axe, the checker of accessibility, finds on the page that a browser shows."""

from __future__ import annotations

from importlib.resources import files

from testing.browser import Browser


def findings(browser: Browser) -> list[str]:
    """All violations, with the elements that they are about."""
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
    # Two frames later whatever mends the page after a change has run, too.
    results = browser.execute_async_script(
        "const [options, done] = arguments;"
        "requestAnimationFrame(() => requestAnimationFrame(() => axe.run(options).then(done)))",
        {"resultTypes": ["violations"], "selectors": False},  # describing what passes takes most of the time
    )
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:100] for node in one['nodes']]}" for one in results["violations"]
    ]
