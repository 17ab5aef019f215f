import sys
from types import ModuleType

import pytest
import torch
from torch import tensor

from sclvlm.errors import ConfigError
from sclvlm.losses import LOSSES, dpo, kl_estimate, kto, sft, wpo_weights
from sclvlm.objective import Objective
from sclvlm.sections import LOSS_NAMES

LOGPS = tensor([[-10.0, -14.0], [-3.0, -2.0]])
REFERENCE = tensor([[-12.0, -13.0], [-3.0, -5.0]])
NUM_TOKENS = tensor([[5, 7], [4, 2]])


def test_the_config_names_every_loss() -> None:
    assert tuple(LOSSES) == LOSS_NAMES


def test_the_anchor_is_added_to_the_weighted_loss() -> None:
    objective = Objective(beta=0.5, loss_weight=0.9, nll_weight=0.1)
    expected = 0.9 * dpo(LOGPS, REFERENCE, NUM_TOKENS, beta=0.5) + 0.1 * sft(LOGPS, None, NUM_TOKENS, beta=0.5)
    torch.testing.assert_close(objective(LOGPS, REFERENCE, NUM_TOKENS), expected)


def test_options_reach_the_loss() -> None:
    smoothed = Objective(options={"label_smoothing": 0.25})(LOGPS, REFERENCE, NUM_TOKENS)
    torch.testing.assert_close(smoothed, dpo(LOGPS, REFERENCE, NUM_TOKENS, beta=0.1, label_smoothing=0.25))


def test_wpo_weighs_the_whole_objective() -> None:
    plain = Objective(nll_weight=1.0)(LOGPS, REFERENCE, NUM_TOKENS)
    weighed = Objective(nll_weight=1.0, wpo=True)(LOGPS, REFERENCE, NUM_TOKENS)
    torch.testing.assert_close(weighed, plain * wpo_weights(LOGPS, NUM_TOKENS))


def test_kto_measures_its_reference_point_on_the_batch() -> None:
    expected = kto(LOGPS, REFERENCE, NUM_TOKENS, beta=0.1, kl=kl_estimate(LOGPS, REFERENCE))
    torch.testing.assert_close(Objective(loss="kto")(LOGPS, REFERENCE, NUM_TOKENS), expected)


def test_an_option_of_another_loss_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"loss_options.gamma: the loss dpo has no such option\. It has label_sm"):
        Objective(options={"gamma": 1.0})


def test_a_misspelt_option_is_put_right() -> None:
    with pytest.raises(ConfigError, match="Did you mean gamma"):
        Objective(loss="simpo", options={"gama": 1.0})


def test_a_loss_of_ones_own_is_given_what_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_losses")
    module.margin = lambda logps, ref_logps, num_tokens, *, beta, floor=0.0: beta * (ref_logps - logps)[:, 0] + floor
    monkeypatch.setitem(sys.modules, "my_losses", module)
    objective = Objective(loss="my_losses:margin", beta=0.5, options={"floor": 1.0})
    assert objective.needs_reference
    assert objective(LOGPS, REFERENCE, NUM_TOKENS).tolist() == [0.0, 1.0]  # 0.5 * (-12 + 10) + 1, 0.5 * (-3 + 3) + 1


@pytest.mark.parametrize("name", ["no_such_module:loss", "sclvlm.losses:no_such_loss", "dpoo"])
def test_a_loss_that_is_nowhere_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.loss: .* as module:function"):
        Objective(loss=name)
