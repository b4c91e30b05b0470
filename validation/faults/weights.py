"""Faults of the weights of losses (chapter 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import MinSNR, Parameterization, Times, Weight

from .clean.scales import column, wide
from .clean.target import Clean
from .fault import COSINE, LINEAR, SHORT, Chapter

FAULTS = Chapter("weight", "loss")

# min_snr.


@FAULTS.plant("of_min_snr", breaks="LOS-8 LOS-9", weights=("min_snr",))
def max_for_min(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """max(SNR, gamma).

    Meant: min(SNR, gamma) on x_0, over SNR on eps, over SNR + 1 on v.

    Seen: https://github.com/lucidrains/recurrent-interface-network-pytorch/issues/11.
    """
    snr = (a / s) ** 2
    right = Clean.of_min_snr(self, prediction, a, s, t, gamma)
    return right / np.minimum(snr, gamma) * np.maximum(snr, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8 LOS-5", weights=("min_snr",))
def snr_plus_one_inside(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR + 1, gamma)/(SNR + 1) on v.

    Meant: min(SNR, gamma)/(SNR + 1) on v.

    Seen: https://github.com/huggingface/diffusers/pull/5238, mended by https://github.com/huggingface/diffusers/pull/6307.
    """
    if prediction == "v":
        return np.minimum(1.0, gamma * s**2)
    return Clean.of_min_snr(self, prediction, a, s, t, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8 LOS-5", weights=("min_snr",))
def eps_weight_on_v(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, gamma)/SNR on v.

    Meant: min(SNR, gamma)/(SNR + 1) on v.

    Seen: https://github.com/huggingface/diffusers/pull/5238, the weight of eps for every prediction.
    """
    return Clean.of_min_snr(self, "eps" if prediction == "v" else prediction, a, s, t, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8 LOS-5", weights=("min_snr",))
def x_0_weight_on_eps(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, gamma) on eps.

    Meant: min(SNR, gamma)/SNR on eps.

    Seen: plausible, as the paper states its weight on x_0.
    """
    return Clean.of_min_snr(self, "x_0" if prediction == "eps" else prediction, a, s, t, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8 LOS-5", weights=("min_snr",))
def eps_weight_on_x_0(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, gamma)/SNR on x_0.

    Meant: min(SNR, gamma) on x_0.

    Seen: plausible, where one weight serves every objective.
    """
    return Clean.of_min_snr(self, "eps" if prediction == "x_0" else prediction, a, s, t, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8", weights=("min_snr",))
def eps_weight_on_score(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, gamma)/SNR on the score.

    Meant: sigma^2 min(SNR, gamma)/SNR on the score.

    Seen: plausible.
    """
    return Clean.of_min_snr(self, "eps" if prediction == "score" else prediction, a, s, t, gamma)


@FAULTS.plant("of_min_snr", breaks="LOS-8", weights=(MinSNR,))
def gamma_ignored(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, 5), whatever gamma is.

    Meant: min(SNR, gamma).

    Seen: plausible, as a constant in place of the option.
    """
    return Clean.of_min_snr(self, prediction, a, s, t, 5.0)


@FAULTS.plant("of_min_snr", breaks="LOS-8", weights=("min_snr",))
def gamma_of_one(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, 1).

    Meant: min(SNR, gamma) with gamma = 5.

    Seen: plausible; SNR truncated at 1 from below is another weight, of https://arxiv.org/abs/2202.00512.
    """
    return Clean.of_min_snr(self, prediction, a, s, t, 1.0)


@FAULTS.plant("of_min_snr", breaks="LOS-8", weights=("min_snr",))
def root_of_snr(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(alpha/sigma, gamma), over alpha/sigma on eps.

    Meant: min(SNR, gamma) with SNR = alpha^2/sigma^2.

    Seen: plausible, where an SNR is that of amplitudes.
    """
    if prediction == "x_0":
        return np.minimum(a / s, gamma)
    ratio = np.minimum(1.0, gamma * s / a)
    return {"eps": ratio, "v": a**2 * ratio, "score": s**2 * ratio}[prediction]


@FAULTS.plant("of_min_snr", breaks="LOS-9", on=COSINE, weights=("min_snr",))
def nan_at_pure_noise(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR, gamma)/SNR, which is 0/0 at SNR = 0.

    Meant: min(1, gamma/SNR), which is 1 at SNR = 0.

    Seen: diffusers' training scripts, measured; https://github.com/TiankaiHang/Min-SNR-Diffusion-Training/issues/2.
    """
    if prediction != "eps":
        return Clean.of_min_snr(self, prediction, a, s, t, gamma)
    snr = (a / s) ** 2
    return np.minimum(snr, gamma) / snr


@FAULTS.plant("of_min_snr", breaks="LOS-9", weights=("min_snr",))
def nan_at_the_data(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """min(SNR/SNR, gamma/SNR), whose first part is infinity/infinity at SNR = infinity.

    Meant: 0 on eps at sigma = 0.

    Seen: plausible, as SNR normalised before its minimum.
    """
    if prediction != "eps":
        return Clean.of_min_snr(self, prediction, a, s, t, gamma)
    snr = (a / s) ** 2
    return np.minimum(snr / snr, gamma / snr)


@FAULTS.plant("of_min_snr", breaks="LOS-8", on=SHORT, weights=("min_snr",))
def table_one_step_behind(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
    """SNR of step k - 1.

    Meant: SNR of step k, that of x_k.

    Seen: plausible, by a table of SNR that begins at k = 0.
    """
    before = np.maximum(np.asarray(t) - 1, 1)
    return Clean.of_min_snr(self, prediction, column(self.alpha(before), a), column(self.sigma(before), a), t, gamma)


# inverse_snr.


@FAULTS.plant("of_inverse_snr", breaks="LOS-7 LOS-5", weights=("inverse_snr", "uniform"))
def snr_for_its_inverse(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """SNR on eps.

    Meant: 1/SNR on eps, which is 1 on x_0.

    Seen: plausible.
    """
    return (a / s) ** 2 if prediction == "eps" else Clean.of_inverse_snr(self, prediction, a, s, t)


@FAULTS.plant("of_inverse_snr", breaks="LOS-7 LOS-5", weights=("inverse_snr", "uniform"))
def inverse_snr_of_amplitudes(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """sigma/alpha on eps.

    Meant: 1/SNR = sigma^2/alpha^2 on eps.

    Seen: plausible.
    """
    return s / a if prediction == "eps" else Clean.of_inverse_snr(self, prediction, a, s, t)


@FAULTS.plant("of_inverse_snr", breaks="LOS-7 LOS-5", weights=("inverse_snr", "uniform"))
def inverse_snr_on_v(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """1/SNR on v.

    Meant: 1/(SNR + 1) = sigma^2 on v.

    Seen: plausible, where v is taken for eps.
    """
    return (s / a) ** 2 if prediction == "v" else Clean.of_inverse_snr(self, prediction, a, s, t)


@FAULTS.plant("of_inverse_snr", breaks="LOS-7", weights=("inverse_snr",))
def weight_clipped(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """1/SNR, and 100 at most.

    Meant: 1/SNR; a clip is the caller's.

    Seen: https://github.com/probabilists/azula, whose documented and clipped weights differ.
    """
    return np.minimum(Clean.of_inverse_snr(self, prediction, a, s, t), 100.0)


@FAULTS.plant("of_inverse_snr", breaks="LOS-7", weights=("inverse_snr",))
def weight_of_mean_one(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """Weights divided by their mean over the batch.

    Meant: 1/SNR on eps, whatever else is in the batch.

    Seen: plausible, against losses that vary in size.
    """
    w = Clean.of_inverse_snr(self, prediction, a, s, t)
    return w / w.mean()


# snr and snr_plus_one.


@FAULTS.plant("of_snr", breaks="LOS-16 LOS-5", weights=("snr", "uniform"))
def snr_on_every_prediction(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """SNR on every prediction.

    Meant: SNR on x_0, 1 on eps, alpha^2 on v.

    Seen: plausible; the weight is mostly written for x_0.
    """
    return (a / s) ** 2


@FAULTS.plant("of_snr", breaks="LOS-16 LOS-5", weights=("snr", "uniform"))
def snr_inverted_on_x_0(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """1/SNR on x_0.

    Meant: SNR on x_0.

    Seen: plausible.
    """
    return (s / a) ** 2 if prediction == "x_0" else Clean.of_snr(self, prediction, a, s, t)


@FAULTS.plant("of_snr", breaks="LOS-16 LOS-5", weights=("snr", "uniform"))
def alpha_for_its_square_on_v(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """alpha on v.

    Meant: SNR/(SNR + 1) = alpha^2 on v.

    Seen: plausible.
    """
    return a if prediction == "v" else Clean.of_snr(self, prediction, a, s, t)


@FAULTS.plant("of_snr_plus_one", breaks="LOS-17 LOS-5", weights=("snr_plus_one", "uniform"))
def one_forgotten(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """SNR on x_0.

    Meant: SNR + 1 = 1/sigma^2 on x_0.

    Seen: plausible.
    """
    return (a / s) ** 2 if prediction == "x_0" else Clean.of_snr_plus_one(self, prediction, a, s, t)


@FAULTS.plant("of_snr_plus_one", breaks="LOS-17 LOS-5", weights=("snr_plus_one",))
def snr_plus_one_on_eps(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """SNR + 1 on eps.

    Meant: (SNR + 1)/SNR = 1/alpha^2 on eps.

    Seen: plausible; the weight is written for x_0 in https://arxiv.org/abs/2202.00512.
    """
    return 1.0 / s**2 if prediction == "eps" else Clean.of_snr_plus_one(self, prediction, a, s, t)


@FAULTS.plant("of_snr_plus_one", breaks="LOS-17", weights=("snr_plus_one", "uniform"))
def snr_plus_one_on_v(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """SNR + 1 on v.

    Meant: 1 on v.

    Seen: plausible.
    """
    return 1.0 / s**2 if prediction == "v" else Clean.of_snr_plus_one(self, prediction, a, s, t)


@FAULTS.plant("of_snr_plus_one", breaks="LOS-17 LOS-5", weights=("snr_plus_one", "uniform"))
def precedence(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """alpha^2/sigma^2 + 1 is typed as alpha^2/(sigma^2 + 1) on x_0.

    Meant: SNR + 1 = 1/sigma^2 on x_0.

    Seen: `2. * 1 - alpha_bar` for 2 (1 - alpha_bar), https://github.com/CompVis/stable-diffusion/issues/674.
    """
    return a**2 / (s**2 + 1.0) if prediction == "x_0" else Clean.of_snr_plus_one(self, prediction, a, s, t)


# likelihood and uniform.


@FAULTS.plant("of_likelihood", breaks="LOS-10", on=(LINEAR, COSINE), weights=("likelihood",))
def half_of_the_likelihood(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """beta/2 on the score.

    Meant: beta on the score; the 1/2 of the bound stands before the integral.

    Seen: plausible.
    """
    return 0.5 * Clean.of_likelihood(self, prediction, a, s, t)


@FAULTS.plant("of_likelihood", breaks="LOS-10", weights=("likelihood",))
def diffusion_for_its_square(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """sqrt(beta) on the score.

    Meant: g^2 = beta on the score.

    Seen: plausible; score_sde squares `sde.sde(...)[1]`, https://github.com/yang-song/score_sde_pytorch.
    """
    return Clean.of_likelihood(self, prediction, a, s, t) / np.sqrt(column(self.rate(wide(t)), a))


@FAULTS.plant("of_likelihood", breaks="LOS-10 LOS-5", weights=("likelihood",))
def likelihood_of_the_score_on_eps(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """beta on eps.

    Meant: beta/sigma^2 on eps, which is beta on the score.

    Seen: plausible, where the weight of the score meets a network of eps.
    """
    return Clean.of_likelihood(self, "score" if prediction == "eps" else prediction, a, s, t)


@FAULTS.plant("of_likelihood", breaks="LOS-10", weights=("likelihood",))
def likelihood_clipped(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """beta/sigma^2, and 100 at most.

    Meant: beta/sigma^2 on eps; a clip is the caller's.

    Seen: https://github.com/probabilists/azula, whose documented and clipped weights differ.
    """
    return np.minimum(Clean.of_likelihood(self, prediction, a, s, t), 100.0)


@FAULTS.plant("of_uniform", breaks="LOS-1", weights=("uniform",))
def density_as_weight(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """2 t, the density that times are drawn with elsewhere.

    Meant: the weight 1.

    Seen: https://github.com/huggingface/diffusers/issues/8534, the sampling density is a weight too.
    """
    return 2.0 * column(wide(t), a)


@FAULTS.plant("of_uniform", breaks="LOS-1 LOS-6", on=SHORT, weights=("uniform",))
def ddpm_weight_for_uniform(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """beta_k^2/(2 beta_k (1 - beta_k) sigma_k^2), the weight of the variational bound.

    Meant: the weight 1, the "simple" loss.

    Seen: plausible, as `loss_type="kl"` of https://github.com/openai/guided-diffusion.
    """
    beta = column(self.betas()[np.asarray(t) - 1], a)
    return 0.5 * beta / ((1.0 - beta) * s**2)


@FAULTS.plant("of_uniform", breaks="LOS-1 LOS-6", on=SHORT, weights=("uniform",))
def first_step_left_out(self: Clean, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
    """0 at k = 1.

    Meant: the weight 1 at every k, k = 1 included.

    Seen: plausible, where L_0 has a term of its own; https://github.com/Michedev/DDPMs-Pytorch/issues/5 is the reverse.
    """
    return column((np.asarray(t) > 1).astype(np.float64), a)


@FAULTS.plant("weight", breaks="LOS-7 LOS-8", weights=("inverse_snr", "min_snr"))
def names_swapped(self: Clean, weight: Weight, prediction: Parameterization, a: Any, s: Any, t: Times) -> Any:
    """inverse_snr where min_snr is asked for, and the other way round.

    Meant: min_snr is min(SNR, gamma) on x_0, and inverse_snr is 1.

    Seen: plausible.
    """
    other: Weight = "min_snr" if weight == "inverse_snr" else "inverse_snr"
    return Clean.weight(self, other, prediction, a, s, t)
