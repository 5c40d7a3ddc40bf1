from __future__ import annotations

from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import mtlora_regularizers
from mtlora_core.testing import check_penalty, described
from mtlora_core.testing.penalty import GivenExperts
from mtlora_regularizers.gram import own, products, spectrum
from mtlora_regularizers.options import SpectralAwareOptions
from mtlora_regularizers.spectral_aware import SpectralAware, shrinkage

Variant = Literal["paper", "released-code"]
VARIANTS: tuple[Variant, ...] = ("paper", "released-code")


def value(up: Tensor, variant: Variant = "paper") -> Tensor:
    return SpectralAware(SpectralAwareOptions(variant=variant))(GivenExperts(up), None)


def gradient(up: Tensor, variant: Variant = "paper") -> Tensor:
    experts = GivenExperts(up)
    penalty = SpectralAware(SpectralAwareOptions(variant=variant))
    return torch.autograd.grad(penalty(experts, None), experts.up)[0]


def column_weights(b: Tensor) -> Tensor:
    """Return exp(-σ / σ̄) of one expert, strongest first, as the released code has them."""
    singular: Tensor = torch.linalg.svdvals(b)
    return (-singular / singular.mean()).exp()


def shrunk(up: Tensor) -> Tensor:
    """Return B' = U diag(√w σ) Vᵀ of one expert by the SVD of the paper."""
    left, singular, right = torch.linalg.svd(up, full_matrices=False)
    roots: Tensor = (-singular / singular.mean()).exp().sqrt()
    return torch.matmul(left @ torch.diag(roots * singular), right)


def draw(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("variant", VARIANTS)
def test_keeps_the_contract_of_a_penalty(variant: Variant) -> None:
    component = described(mtlora_regularizers, "regularizer", "spectral-aware")

    check_penalty(component, {"variant": variant})


def test_is_the_papers_sum_over_pairs_of_experts_shrunk_by_an_svd() -> None:
    up = draw(8, 4, 3)

    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    terms = [(shrunk(up[:, i]).T @ shrunk(up[:, j])).norm() ** 2 for i, j in pairs]
    torch.testing.assert_close(value(up), torch.stack(terms).sum())


def test_released_code_is_its_sum_over_the_columns_of_each_expert() -> None:
    up = draw(8, 4, 3)

    terms = []
    for b in up.unbind(1):
        w = column_weights(b)
        off = b.T @ b - torch.eye(3) * b.norm() ** 2 / 3
        terms.append((torch.outer(w, w) * off).square().sum())
    torch.testing.assert_close(value(up, "released-code"), torch.stack(terms).mean())


def test_variant_changes_the_penalty() -> None:
    up = draw(8, 4, 3)

    assert value(up, "paper") != value(up, "released-code")


def test_the_papers_form_does_not_change_when_experts_columns_turn() -> None:
    up, turn = draw(8, 4, 3), torch.linalg.qr(draw(3, 3))[0]

    torch.testing.assert_close(value(up @ turn), value(up))


def test_strong_directions_are_left_freer_than_weak_ones() -> None:
    strong_alike, weak_alike = (torch.zeros(4, 2, 2, dtype=torch.float64) for _ in range(2))
    for expert in range(2):
        strong_alike[0, expert, 0], strong_alike[1 + expert, expert, 1] = 3.0, 1.0
        weak_alike[0, expert, 1], weak_alike[1 + expert, expert, 0] = 1.0, 3.0

    # Relative to the uniform penalty, which is σ⁴ of the direction that both experts share.
    assert value(strong_alike) / 3.0**4 < value(weak_alike) / 1.0**4


def test_singular_values_and_vectors_are_those_of_the_svd() -> None:
    up = draw(8, 4, 3)

    singular, vectors = spectrum(own(products(up)))

    expected = torch.linalg.svdvals(up.movedim(1, 0)).flip(-1)
    torch.testing.assert_close(singular, expected)
    rebuilt = vectors @ torch.diag_embed(singular.square()) @ vectors.mT
    torch.testing.assert_close(rebuilt, own(products(up)))


def test_experts_that_are_still_zero_are_not_shrunk() -> None:
    torch.testing.assert_close(shrinkage(torch.zeros(2, 3, 3)), torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("zero", [slice(None), slice(1)])
def test_gradient_is_finite_while_experts_are_zero(variant: Variant, zero: slice) -> None:
    up = draw(8, 3, 2)
    up[:, zero] = 0

    assert gradient(up, variant).isfinite().all()


def test_gradient_is_finite_where_singular_values_meet() -> None:
    up = torch.eye(6, 2)[:, None].repeat(1, 2, 1)

    assert gradient(up).isfinite().all()


def test_the_papers_weights_have_no_gradient() -> None:
    up = draw(8, 3, 2)

    # With the weights held, the penalty is of degree 4 in the Bs (Euler's theorem).
    torch.testing.assert_close((gradient(up) * up).sum(), 4 * value(up))


def test_the_gradient_of_the_released_code_holds_weights_and_length() -> None:
    up = draw(8, 3, 2)

    expected = torch.zeros_like(up)
    for expert, b in enumerate(up.unbind(1)):
        w = column_weights(b)
        held = torch.outer(w, w).square() * (b.T @ b - torch.eye(2) * b.norm() ** 2 / 2)
        expected[:, expert] = 4 * b @ held / 3
    torch.testing.assert_close(gradient(up, "released-code"), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_products_and_spectra_stay_in_float32_under_autocast(variant: Variant) -> None:
    up = draw(64, 4, 3).float()
    expected = value(up, variant)

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(value(up, variant), expected)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_comes_out_instead_of_raising(broken: float) -> None:
    up = draw(8, 3, 4)
    up[:, 0] = broken  # all of an expert: LAPACK gives up on that, at most ranks

    assert not value(up).isfinite()


def test_refuses_an_unknown_variant() -> None:
    with pytest.raises(ValidationError):
        SpectralAwareOptions.model_validate({"variant": "svd"})
