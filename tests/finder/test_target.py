"""What may be asked for."""

import pytest

from img2img_jax.finder.target import Target


def test_a_target_is_one_metric_and_its_value():
    assert Target.of({"ssim": 1}) == Target(metric="ssim", value=1.0)
    assert Target.of({"clip_text": "knee"}) == Target(metric="clip_text", value=None)


@pytest.mark.parametrize("text", ["auto:ssim=0.7", "auto:clip_text=knee", "auto:psnr=-3"])
def test_the_command_writes_the_same(text):
    assert f"auto:{Target.parse(text)}" == text


@pytest.mark.parametrize("target", [{}, {"ssim": 0.5, "l1": 0.1}, "ssim=0.5"])
def test_not_one_metric(target):
    with pytest.raises(ValueError, match="must name one metric"):
        Target.of(target)


@pytest.mark.parametrize("value", ["elbow", float("nan"), float("inf"), None, True])
def test_not_a_value(value):
    with pytest.raises(ValueError, match="ssim=.* neither a finite number nor 'knee'"):
        Target.of({"ssim": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ssim=0.7", "is no target; write auto:METRIC=VALUE"),
        ("auto:ssim", "is no target"),
        ("auto:=0.7", "is no target"),
        ("auto:ssim=much", "'much' is neither"),
        ("auto:ssim=inf", "'inf' is neither"),
    ],
)
def test_unreadable_text(text, message):
    with pytest.raises(ValueError, match=message):
        Target.parse(text)
