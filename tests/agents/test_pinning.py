"""A model's name says exactly one model (M017)."""

import pytest

from agents.pinning import pin_problem


@pytest.mark.parametrize(
    "model",
    [
        "scripted-analyst-2026-11-01",
        "gpt-4.1-2025-04-14",
        "gpt-4o-2024-08-06",
        "claude-sonnet-4-5-20250929",
        "gemini-1.5-pro-002",
        "gpt-4-0613",
        "llama3.1:8b-instruct-q4_K_M",
        "meta-llama/Llama-3.1-8B-Instruct@0e9e39f",
        "qwen@sha256:4f53cda18c2baa0c",
    ],
)
def test_pinned_models_pass(model):
    assert pin_problem(model) == ""


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-latest",
        "claude-3-5-sonnet-latest",
        "chatgpt-4o-latest-2024-08-06",
        "llama3:latest",
        "model@latest",
        "router/auto",
        "default",
        "LATEST",
        "mistral-large-stable",
        "qwen:current",
        "model@main",
    ],
)
def test_moving_aliases_are_refused_and_named(model):
    assert "moves" in pin_problem(model)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "claude-sonnet-4-5", "gemini-2.5-pro", "llama-3.1-8b-instruct"])
def test_names_of_families_are_refused_with_an_example(model):
    assert f"{model}-2026-11-01" in pin_problem(model)


@pytest.mark.parametrize("model", ["", " ", "gpt 4-2024-08-06", "gpt-4\u200b-2024-08-06", "a" * 201, "x-2024-08-06\n"])
def test_what_is_no_model_name_is_refused(model):
    assert pin_problem(model)
