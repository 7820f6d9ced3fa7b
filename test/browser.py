#!/usr/bin/python3
"""browser.py URL FOLDER: a headless Chromium that does what it is told, one JSON line an answer.

Commands are lines of JSON on stdin, answers lines of JSON on stdout:
  {"do": "wait", "script": JS, "is": VALUE, "seconds": N}   until the script's value is VALUE
                                         -> {"seconds": WAITED, "value": ...} or {"error": ...}
  {"do": "run", "script": JS}            -> {"value": ...}
  {"do": "click", "css": CSS}            -> {}  as a person clicks: it must be visible and on top
  {"do": "type", "css": CSS, "text": T}  -> {}
  {"do": "keys", "keys": ["TAB", ...]}   -> {}  to whatever has the focus
  {"do": "window", "width": W, "height": H, "dark": BOOL, "touch": BOOL}  -> {}
  {"do": "shoot", "file": F}             -> {}  a screenshot
  {"do": "seen"}                         -> {"console": [...], "hosts": [...]}  all so far
"""
import json
import sys
import time
import urllib.parse

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

URL, FOLDER = sys.argv[1], sys.argv[2]


def open_browser():
    options = webdriver.ChromeOptions()
    # --no-sandbox: tests run as root in containers.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--disable-background-networking", "--disable-extensions", "--no-first-run",
                     "--hide-scrollbars", "--window-size=1180,900", f"--user-data-dir={FOLDER}/profile"):
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver", log_path=f"{FOLDER}/chromedriver.log"),
                            options=options)


class Session:
    def __init__(self, browser):
        self.browser = browser
        self.console = []
        self.hosts = set()

    def wait(self, command):
        began = time.monotonic()
        value = None
        while time.monotonic() - began < command.get("seconds", 10):
            value = self.browser.execute_script(command["script"])
            if value == command["is"]:
                return {"seconds": round(time.monotonic() - began, 2), "value": value}
            time.sleep(0.05)
        return {"error": f"gave up on {command['script']}", "value": value}

    def run(self, command):
        return {"value": self.browser.execute_script(command["script"])}

    def click(self, command):
        self.browser.find_element(By.CSS_SELECTOR, command["css"]).click()
        return {}

    def type(self, command):
        self.browser.find_element(By.CSS_SELECTOR, command["css"]).send_keys(command["text"])
        return {}

    def keys(self, command):
        ActionChains(self.browser).send_keys(*[getattr(Keys, name, name) for name in command["keys"]]).perform()
        return {}

    def window(self, command):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": command["width"], "height": command["height"], "deviceScaleFactor": 1,
            "mobile": command.get("touch", False)})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if command.get("dark") else "light"}]})
        return {}

    def shoot(self, command):
        self.browser.save_screenshot(command["file"])
        return {}

    def seen(self, _):
        self.console += [f"{entry['level']} {entry['message']}" for entry in self.browser.get_log("browser")]
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urllib.parse.urlsplit(message["params"]["request"]["url"])
                if url.scheme in ("http", "https", "ws", "wss"):
                    self.hosts.add(url.netloc)
        return {"console": self.console, "hosts": sorted(self.hosts)}


def main():
    browser = open_browser()
    session = Session(browser)
    try:
        browser.get(URL)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = getattr(session, command["do"])(command)
            except WebDriverException as error:
                answer = {"error": (error.msg or type(error).__name__).splitlines()[0]}
            print(json.dumps(answer), flush=True)
    finally:
        browser.quit()


main()
