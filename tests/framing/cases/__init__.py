"""All cases: what a client sends, what the upstream answers, and what must hold."""

from cases.answers import answers
from cases.crowds import many, mistakes
from cases.downgrades import downgrades
from cases.heads import heads
from cases.requests import requests


def all_cases():
    yield from requests()
    yield from heads()
    yield from answers()
    yield from mistakes()
    yield from many()
    yield from downgrades()
