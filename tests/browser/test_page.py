"""The chat page in headless Chromium, against the scripted engine and against the real model."""
import importlib.resources
import pathlib
import re
import tempfile

import pytest
from playwright.sync_api import expect, sync_playwright

from server_process import ServerProcess

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SHOTS = pathlib.Path("build/screenshots")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path="/usr/bin/chromium", args=FLAGS, viewport={"width": 1100, "height": 760})
        yield context
        context.close()


@pytest.fixture(scope="module")
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
    yield page
    assert page.violations == []
    page.close()


def say(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def wait_for_answer(page):
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=60000)


def test_chat_streams_an_answer(page):
    say(page, "Write a Python function that adds two numbers.")
    wait_for_answer(page)
    assert len(page.locator(".message.assistant .body").last.inner_text()) > 20
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "chat.png")


def test_says_that_the_default_is_a_small_demo_model(page):
    expect(page.locator("#notice")).to_contain_text("small demo model")


def test_second_turn_regenerate_and_history(page):
    say(page, "Say hello.")
    wait_for_answer(page)
    say(page, "And again.")
    wait_for_answer(page)
    expect(page.locator(".message")).to_have_count(4)
    page.get_by_role("button", name="Regenerate").click()
    wait_for_answer(page)
    expect(page.locator(".message")).to_have_count(4)
    page.reload()
    page.locator("#chat-list .chat", has_text="Say hello.").first.click()
    expect(page.locator(".message")).to_have_count(4)


def test_stop_ends_the_stream(page):
    say(page, "Write a very long story about the sea with many chapters.")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".message.assistant .body")).to_contain_text(re.compile(r".{20}", re.S))
    page.keyboard.press("Escape")
    expect(page.locator(".notes").last).to_contain_text("stopped")


def test_code_block_is_highlighted_and_raw_html_is_text(page):
    page.evaluate("""() => { window.realFetch = window.fetch; window.fetch = async (url, options) => {
        if (!String(url).endsWith('/chat/completions')) return window.realFetch(url, options);
        const text = '```python\\nprint("hi")\\n```\\n\\n<img src=x onerror=alert(1)> **bold**';
        const chunk = (delta, finish) => 'data: ' + JSON.stringify({choices: [{index: 0, delta,
            finish_reason: finish}]}) + '\\n\\n';
        return new Response(chunk({content: text}, null) + chunk({}, 'stop') + 'data: [DONE]\\n\\n');
    }; }""")
    say(page, "code please")
    wait_for_answer(page)
    body = page.locator(".message.assistant .body").last
    expect(body.locator("pre .hljs-string")).to_have_text('"hi"')
    expect(body.locator("strong")).to_have_text("bold")
    assert "<img src=x onerror=alert(1)>" in body.inner_text()
    assert body.locator("img").count() == 0


def test_error_is_shown_in_place_and_can_be_retried(page):
    page.route("**/v1/chat/completions", lambda route: route.abort())
    say(page, "hello there")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Try again").click()
    wait_for_answer(page)


def test_keyboard_and_theme(page):
    page.keyboard.press("Control+b")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.keyboard.press("Control+b")
    expect(page.locator("#sidebar")).to_be_visible()
    for theme in ("light", "dark"):
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == theme
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "dark.png")
    page.locator("#theme").click()


def test_phone(page):
    page.set_viewport_size({"width": 390, "height": 780})
    page.reload()
    expect(page.locator("#sidebar")).to_be_hidden()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    say(page, "Hi!")
    wait_for_answer(page)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "phone.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility(page, theme):
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate("theme => { localStorage.setItem('wicara.theme', theme); }", theme)
    page.reload()
    say(page, "Hello!")
    wait_for_answer(page)
    page.evaluate(axe.read_text())  # runs in the page's main world, outside its CSP
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(v["id"], v["nodes"][0]["html"]) for v in result["violations"]] == []
    page.evaluate("localStorage.removeItem('wicara.theme')")
