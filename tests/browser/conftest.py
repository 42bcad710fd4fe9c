"""The browser, the server and what the tests of the page share."""
import importlib.resources
import json
import pathlib
import tempfile

import pytest
from playwright.sync_api import expect, sync_playwright

from server_process import ServerProcess

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SHOTS = pathlib.Path("build/screenshots")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path="/usr/bin/chromium", args=FLAGS, viewport={"width": 1100, "height": 760})
        yield context
        context.close()


@pytest.fixture(scope="session")
def server():
    with ServerProcess() as process:
        yield process


@pytest.fixture
def page(browser, server):
    page = browser.new_page()
    page.violations = []
    page.on("console", lambda message: page.violations.append(message.text)
            if "Content Security Policy" in message.text or "TrustedHTML" in message.text else None)
    page.on("pageerror", lambda error: page.violations.append(str(error)))
    page.goto(server.url)
    limit_answers(page, 100)
    yield page
    assert page.violations == []
    page.close()


def limit_answers(page, n_tokens):
    """The demo model may ramble for thousands of tokens; None takes the limit away."""
    page.evaluate("""n => localStorage.setItem('wicara.settings', JSON.stringify(
        {system: '', params: n ? {max_completion_tokens: n} : {}}))""", n_tokens)
    page.reload()


def say(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def wait_for_answer(page):
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=60000)


def script_answers(page, *answers):
    """The next requests for an answer are told these chunks, [(delta, finish)], instead of asking the
    server; window.asked keeps the bodies."""
    page.evaluate("""answers => {
        window.realFetch ??= window.fetch;
        window.asked = [];
        window.fetch = async (url, options) => {
            if (!String(url).endsWith('/chat/completions') || !answers.length)
                return window.realFetch(url, options);
            window.asked.push(JSON.parse(options.body));
            const chunks = answers.shift();
            const lines = chunks.map(([delta, finish]) => 'data: ' + JSON.stringify({model: 'scripted',
                choices: [{index: 0, delta, finish_reason: finish ?? null}]}) + '\\n\\n');
            lines.push('data: ' + JSON.stringify({choices: [], usage: {completion_tokens: 41},
                timings: {predicted_n: 41, predicted_per_second: 123.4}}) + '\\n\\n', 'data: [DONE]\\n\\n');
            const body = new ReadableStream({async start(controller) {
                for (const line of lines) {
                    controller.enqueue(new TextEncoder().encode(line));
                    await new Promise((resolve) => setTimeout(resolve, 20));
                }
                controller.close();
            }});
            return new Response(body);
        };
    }""", [list(map(list, chunks)) for chunks in answers])


def asked(page):
    return json.loads(page.evaluate("JSON.stringify(window.asked)"))


def axe_violations(page):
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate(axe.read_text())  # runs in the page's main world, outside its CSP
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(v["id"], v["nodes"][0]["html"]) for v in result["violations"]]
