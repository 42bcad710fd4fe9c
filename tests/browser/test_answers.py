"""What answers look like: reasoning, tool calls, code, mathematics; versions, settings, export.

The answers are scripted in the page (conftest.script_answers), so that these tests do not rest on
what a small model happens to say.
"""
import json

import pytest
from playwright.sync_api import expect

from conftest import SHOTS, asked, axe_violations, say, script_answers, wait_for_answer


def answer(page):
    return page.locator(".message.assistant").last


def test_code_block_is_highlighted_and_raw_html_is_text(page):
    script_answers(page, [({"content": "```python\nprint(\"hi\")\n```\n\n"
                                       "<img src=x onerror=alert(1)> **bold**"}, "stop")])
    say(page, "code please")
    wait_for_answer(page)
    body = answer(page).locator(".body")
    expect(body.locator("pre .hljs-string")).to_have_text('"hi"')
    expect(body.locator("strong")).to_have_text("bold")
    expect(body.get_by_role("button", name="Copy")).to_be_visible()
    assert "<img src=x onerror=alert(1)>" in body.inner_text()
    assert body.locator("img").count() == 0


def test_reasoning_folds_when_the_answer_comes(page):
    script_answers(page, [({"reasoning_content": "Let me "}, None), ({"reasoning_content": "**think**."}, None)] +
                   [({"reasoning_content": " more"}, None)] * 30 + [({"content": "Four."}, "stop")])
    say(page, "2 + 2?")
    thought = answer(page).locator("details.thought")
    expect(thought).to_have_attribute("open", "")
    expect(thought.locator("summary")).to_have_text("Thinking …")
    wait_for_answer(page)
    expect(thought).not_to_have_attribute("open", "")
    expect(thought.locator("summary")).to_contain_text("Thought for")
    expect(answer(page).locator(".body")).to_have_text("Four.")
    thought.locator("summary").click()
    expect(thought.locator("strong")).to_have_text("think")
    page.screenshot(path=SHOTS / "reasoning.png")
    assert axe_violations(page) == []
    script_answers(page, [({"content": "Yes."}, "stop")])
    say(page, "Sure?")
    expect(answer(page).locator(".body")).to_have_text("Yes.")
    assert [m["content"] for m in asked(page)[0]["messages"]] == ["2 + 2?", "Four.", "Sure?"]


def test_reader_decides_whether_the_reasoning_is_open(page):
    script_answers(page, [({"reasoning_content": "hm"}, None)] * 40 + [({"content": "Yes."}, "stop")])
    say(page, "Well?")
    thought = answer(page).locator("details.thought")
    thought.locator("summary").click()
    expect(thought).not_to_have_attribute("open", "")
    thought.locator("summary").click()
    wait_for_answer(page)
    expect(thought).to_have_attribute("open", "")


def test_tool_calls_are_shown(page):
    script_answers(page, [
        ({"tool_calls": [{"index": 0, "id": "a", "type": "function",
                          "function": {"name": "get_weather", "arguments": ""}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\": "}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "\"Rome\"}"}}]}, None),
        ({"tool_calls": [{"index": 1, "function": {"name": "stop", "arguments": "not json"}}]}, "tool_calls")])
    say(page, "Weather?")
    wait_for_answer(page)
    calls = answer(page).get_by_role("group", name="Tool call")
    expect(calls).to_have_count(2)
    expect(calls.first.locator(".call-name")).to_have_text("get_weather")
    expect(calls.first.locator("pre")).to_have_text('{\n  "city": "Rome"\n}')
    expect(calls.last.locator("pre")).to_have_text("not json")
    page.screenshot(path=SHOTS / "calls.png")
    assert axe_violations(page) == []


@pytest.mark.parametrize("text, n_math", [
    ("So $x^2 + y_1$ and \\(\\frac{a}{b}\\), then\n\n$$\\int_0^1 f(x)\\,dx = 1$$\n\nand\n\n\\[\na \\ne b\n\\]\n", 4),
    ("It costs $5 or $6 today, `$x$` is code, \\$3 too.", 0),
    ("$$\\evil{unknown}$$ and $\\frac{a}$", 0)])
def test_mathematics(page, text, n_math):
    script_answers(page, [({"content": part}, None) for part in (text[:7], text[7:30], text[30:])] + [({}, "stop")])
    say(page, "Mathematics, please")
    wait_for_answer(page)
    body = answer(page).locator(".body")
    expect(body.locator("math")).to_have_count(n_math)
    if n_math:
        expect(body.locator("mfrac")).to_have_count(1)
        expect(body.locator("div.math math[display=block]")).to_have_count(2)
        assert "\\" not in body.inner_text() and "$" not in body.inner_text()
        page.screenshot(path=SHOTS / "mathematics.png")
        assert axe_violations(page) == []


def test_hostile_mathematics(page):
    script_answers(page, [({"content": "$\\href{javascript:alert(1)}{x}$ $\\includegraphics{http://evil/x}$ "
                                       "$\\htmlStyle{color:red}{y}$ $\\def\\a{\\a\\a}\\a$"}, "stop")])
    say(page, "Mathematics, please")
    wait_for_answer(page)
    body = answer(page).locator(".body")
    expect(body.locator("math").first).to_be_visible()
    assert body.locator("a, img, [style], [href]").count() == 0


def test_model_and_speed_below_the_answer(page):
    script_answers(page, [({"content": "Hi."}, "length")])
    say(page, "Hello")
    wait_for_answer(page)
    expect(answer(page).locator(".notes")).to_have_text(
        "cut off at the token limit · scripted · 123 tokens/s")


def test_model_and_speed_from_the_server(page):
    say(page, "Say hello.")
    wait_for_answer(page)
    expect(answer(page).locator(".notes")).to_contain_text("SmolLM2")
    expect(answer(page).locator(".notes")).to_contain_text("tokens/s")


def test_regenerate_and_edit_make_versions(page):
    script_answers(page, *[[({"content": f"Answer {n}."}, "stop")] for n in range(1, 5)])
    say(page, "First question")
    wait_for_answer(page)
    page.get_by_role("button", name="Regenerate").click()
    expect(answer(page).locator(".body")).to_have_text("Answer 2.")
    expect(answer(page).locator(".versions")).to_contain_text("2 / 2")
    expect(answer(page).get_by_role("button", name="Later version")).to_be_disabled()
    answer(page).get_by_role("button", name="Earlier version").click()
    expect(answer(page).locator(".body")).to_have_text("Answer 1.")
    say(page, "Second question")
    expect(answer(page).locator(".body")).to_have_text("Answer 3.")
    assert [m["content"] for m in asked(page)[2]["messages"]] == [
        "First question", "Answer 1.", "Second question"]

    own = page.locator(".message.user").first
    own.hover()
    own.get_by_role("button", name="Edit").click()
    box = own.get_by_label("Edit your message")
    expect(box).to_be_focused()
    box.fill("Changed question")
    page.screenshot(path=SHOTS / "edit.png")
    assert axe_violations(page) == []
    own.get_by_role("button", name="Ask again").click()
    expect(answer(page).locator(".body")).to_have_text("Answer 4.")
    expect(page.locator(".message")).to_have_count(2)
    assert [m["content"] for m in asked(page)[3]["messages"]] == ["Changed question"]
    page.locator(".message.user").first.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".message .body")).to_have_text(
        ["First question", "Answer 1.", "Second question", "Answer 3."])

    page.reload()
    expect(page.locator(".message .body")).to_have_text(
        ["First question", "Answer 1.", "Second question", "Answer 3."])
    page.locator(".message.user").first.get_by_role("button", name="Later version").click()
    expect(page.locator(".message .body")).to_have_text(["Changed question", "Answer 4."])


def test_edit_can_be_given_up(page):
    script_answers(page, [({"content": "Yes."}, "stop")])
    say(page, "A question")
    wait_for_answer(page)
    own = page.locator(".message.user")
    own.hover()
    own.get_by_role("button", name="Edit").click()
    own.get_by_label("Edit your message").fill("Something else")
    page.keyboard.press("Escape")
    expect(own.locator(".body")).to_have_text("A question")
    expect(own.get_by_role("button", name="Edit")).to_be_focused()


def test_settings_are_sent_and_kept(page):
    page.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog", name="Settings")
    dialog.get_by_label("System prompt").fill("Be brief.")
    dialog.get_by_label("Temperature").fill("0.5")
    dialog.get_by_label("Seed").fill("7")
    dialog.get_by_label("Most tokens of an answer").fill("99")
    page.screenshot(path=SHOTS / "settings.png")
    assert axe_violations(page) == []
    dialog.get_by_role("button", name="Save").click()
    page.reload()
    script_answers(page, [({"content": "Yes."}, "stop")], [({"content": "Yes."}, "stop")])
    say(page, "Hello")
    wait_for_answer(page)
    body = asked(page)[0]
    assert (body["temperature"], body["seed"], body["max_completion_tokens"]) == (0.5, 7, 99)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    page.get_by_role("button", name="Settings").click()
    dialog.get_by_label("Temperature").fill("9")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_visible()  # the browser says what is wrong with the field
    dialog.get_by_role("button", name="Clear all").click()
    dialog.get_by_role("button", name="Save").click()
    say(page, "And now?")
    expect(page.locator(".message.assistant")).to_have_count(2)
    wait_for_answer(page)
    assert "seed" not in asked(page)[1] and asked(page)[1]["messages"][0]["role"] == "user"


def test_export_and_import(page, tmp_path):
    script_answers(page, [({"reasoning_content": "hm", "content": ""}, None), ({"content": "Kept."}, "stop")])
    say(page, "Please keep this")
    wait_for_answer(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / "chats.json"
    download.value.save_as(path)
    data = json.loads(path.read_text())
    assert data["format"] == "wicara-chats" and data["version"] == 1
    chat = next(c for c in data["chats"] if c["title"] == "Please keep this")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete Please keep this").click()
    expect(page.locator("#chat-list .chat", has_text="Please keep this")).to_have_count(0)
    page.reload()  # a deleted chat may come back by hand only
    page.get_by_label("File with exported chats").set_input_files(path)
    expect(page.locator("#notice")).to_contain_text("Imported 1 chat")
    page.locator("#chat-list .chat", has_text="Please keep this").click()
    expect(page.locator(".message .body")).to_have_text(["Please keep this", "Kept."])
    expect(page.locator("details.thought")).to_have_count(1)
    for broken in ("{", "[]", json.dumps({"format": "wicara-chats", "version": 1, "chats": [{"id": 1}]}),
                   json.dumps({"format": "wicara-chats", "version": 1, "chats": [
                       {**chat, "id": "x", "messages": [{"role": "user", "content": 5}]}]}),
                   json.dumps({"format": "wicara-chats", "version": 1, "chats": [
                       {**chat, "id": "x", "messages": [
                           {"role": "user", "content": "a", "id": 1, "parent": 2},
                           {"role": "user", "content": "a", "id": 2, "parent": 1}]}]})):
        path.write_text(broken)
        page.get_by_label("File with exported chats").set_input_files(path)
        expect(page.locator("#notice")).to_contain_text("The import failed")
        page.evaluate("document.getElementById('notice').textContent = ''")


def test_a_chat_from_before_branches_is_shown(page):
    page.evaluate("""() => new Promise((resolve) => {
        const request = indexedDB.open('wicara', 1);
        request.onsuccess = () => {
            const transaction = request.result.transaction('chats', 'readwrite');
            transaction.objectStore('chats').put({id: 'old', title: 'An old chat', updated: Date.now(),
                messages: [{role: 'user', content: 'Q'}, {role: 'assistant', content: 'A', rate: '3 tokens/s'}]});
            transaction.oncomplete = resolve;
        };
    })""")
    page.reload()
    page.locator("#chat-list .chat", has_text="An old chat").click()
    expect(page.locator(".message .body")).to_have_text(["Q", "A"])
    expect(answer(page).locator(".notes")).to_have_text("3 tokens/s")
