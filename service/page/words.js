// What the model's numbers mean, in words. Knows no page and no server.

/** How usual an image looks to the model, from its typicality (0 to 1). */
export function typicalityWord(typicality) {
  if (typicality >= 0.25) return "typical";
  if (typicality >= 0.05) return "unusual";
  return "strange";
}

/** How sure the model is, from the uncertainty (0 to 1). */
export function uncertaintyWord(uncertainty) {
  if (uncertainty < 0.1) return "very sure";
  if (uncertainty < 0.25) return "sure";
  if (uncertainty < 0.5) return "fairly sure";
  return "unsure";
}

/**
 * The variance of each latent dimension over all images. Under a flat prior, which has none, that of the views of one.
 * @param {{dim: number, sigma2: (number|number[]), tau2: (number|number[]|null)}} spec The manifest's `embedding`.
 */
export function priorVariance(spec) {
  const at = (value, index) => (Array.isArray(value) ? value[index] : value ?? 0);
  return Array.from({ length: spec.dim }, (_, index) => at(spec.sigma2, index) + at(spec.tau2, index));
}

/** The geometric mean of the posterior deviations, each as a share of the spread over all images; at most 1. */
export function uncertaintyOf(variance, prior) {
  const logs = variance.map((value, index) => Math.log(Math.max(value, 1e-12) / prior[index]));
  return Math.min(1, Math.exp(logs.reduce((sum, value) => sum + value, 0) / logs.length / 2));
}

/**
 * The dimensions that vary most over images. An embedding varies by as much as the prior does, less what the posterior
 * leaves open: so they are those with the smallest posterior variance.
 */
export function mostVarying(variances, prior, count) {
  const open = prior.map((whole, index) => variances.reduce((sum, row) => sum + row[index], 0) / whole);
  return open.map((_, index) => index).sort((a, b) => open[a] - open[b]).slice(0, count);
}

/** The measures of similarity: name, meaning, text of a value, and how strong it is among the others (0 to 1). */
export const METRICS = {
  probability_same: {
    name: "Probability that they show the same",
    meaning: "How probable it is that two images show the same thing, from how sure the model is of both. Calibrated: of "
      + "pairs at 80 %, about 80 of 100 do.",
    text: (value) => (value < 0.005 ? "0 %" : value > 0.995 ? "100 %" : `${Math.round(100 * value)} %`),
    strength: (value) => value,
  },
  log_likelihood_ratio: {
    name: "Evidence (log-likelihood ratio)",
    meaning: "The evidence in nats that two images show the same thing. Above 0 it speaks for it, below 0 against.",
    text: (value) => value.toFixed(1),
    strength: (value, least, most) => (value - least) / (most - least || 1),
  },
  cosine: {
    name: "Cosine",
    meaning: "The cosine of the angle between two embeddings: 1 is the same direction, 0 a right angle.",
    text: (value) => value.toFixed(2),
    strength: (value) => value,
  },
  euclidean: {
    name: "Euclidean distance",
    meaning: "The distance of two embeddings: the smaller, the more alike.",
    text: (value) => value.toFixed(2),
    strength: (value, least, most) => (most - value) / (most - least || 1),
    nearestIsLeast: true,
  },
};
