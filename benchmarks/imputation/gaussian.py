"""A Gaussian fitted to the cells that are there by expectation–maximisation, in about thirty lines."""

import numpy as np

STEPS, TOLERANCE, RIDGE = 50, 1e-4, 1e-3


def given(mean: np.ndarray, covariance: np.ndarray, x: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, D) and covariance (n, D, D) of rows x (n, D) given their cells that are not gone: x and 0 of these."""
    known = ~gone
    both = known[:, :, None] & known[:, None, :]
    precision = np.linalg.inv(np.where(both, covariance, np.eye(x.shape[1])))
    gain = covariance @ np.where(both, precision, 0.0)
    error = np.where(known, x - mean, 0.0)
    between = covariance - gain @ covariance
    between = np.where(gone[:, :, None] & gone[:, None, :], between, 0.0)
    return np.where(known, x, mean + np.einsum("nij,nj->ni", gain, error)), between


def fit(x: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of largest likelihood of the cells of x (n, D) that are not gone."""
    mean = np.ma.array(x, mask=gone).mean(0).data
    covariance = np.diag(np.ma.array(x, mask=gone).var(0).data)
    for _ in range(STEPS):
        filled, between = given(mean, covariance, x, gone)
        mean, before = filled.mean(0), covariance
        covariance = np.cov(filled.T, bias=True).reshape(covariance.shape) + between.mean(0) + RIDGE * np.eye(len(mean))
        if np.abs(covariance - before).max() < TOLERANCE:
            break
    return mean, covariance


def log_prob(mean: np.ndarray, covariance: np.ndarray, x: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """log p(cells that are gone | the others) of rows x (n, D), (n,) nats."""
    centre, between = given(mean, covariance, x, gone)
    whole = np.where(gone[:, :, None] & gone[:, None, :], between, np.eye(x.shape[1]))
    error = np.where(gone, x - centre, 0.0)
    distance = (error * np.linalg.solve(whole, error[..., None])[..., 0]).sum(1)
    return -0.5 * (distance + np.linalg.slogdet(whole)[1] + gone.sum(1) * np.log(2 * np.pi))
