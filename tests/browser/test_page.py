"""The chat page in headless Chromium, against the real model."""
import re

import pytest
from playwright.sync_api import expect

from conftest import SHOTS, axe_violations, limit_answers, say, wait_for_answer


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
    limit_answers(page, None)
    say(page, "Write a very long story about the sea with many chapters.")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".message.assistant .body")).to_contain_text(re.compile(r".{20}", re.S))
    page.keyboard.press("Escape")
    expect(page.locator(".notes").last).to_contain_text("stopped")


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
    page.evaluate("theme => { localStorage.setItem('wicara.theme', theme); }", theme)
    page.reload()
    say(page, "Hello!")
    wait_for_answer(page)
    assert axe_violations(page) == []
    page.evaluate("localStorage.removeItem('wicara.theme')")
