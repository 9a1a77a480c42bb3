import Silicon.Processing

/-!
# Prediction: what accuracy above the baseline says

The baseline is the best constant answer, not one half. No predictor beats it by more than the
gain of the observation, and one predictor attains the gain.
-/

noncomputable section

namespace Silicon.FinDist

variable {n m : Nat}

/-- Probability that the answer `g` to the observation is the secret.
Python: `tpf.leakage.accuracy`. -/
def accuracy (P : FinDist n m) (g : Fin m → Fin n) : Rat := sum m (fun j => P.w (g j) j)

/-- The same for a predictor that may throw dice: `G.p j i` is the probability that it answers `i`
to the observation `j`. Python: `tpf.leakage.accuracy`. -/
def randomisedAccuracy (P : FinDist n m) (G : Kernel m n) : Rat :=
  sum m (fun j => sum n (fun i => G.p j i * P.w i j))

/-- The predictor of the maximum posterior: the likeliest secret for each observation. -/
def maximumPosterior (P : FinDist (n + 1) m) (j : Fin m) : Fin (n + 1) :=
  argmax n (fun i => P.w i j)

/-- A predictor without chance is a special case of one with chance. -/
theorem accuracy_eq_randomisedAccuracy (P : FinDist n m) (g : Fin m → Fin n) :
    P.accuracy g = P.randomisedAccuracy (Kernel.ofFun g) :=
  sum_congr (fun j => by
    rw [← sum_single' (g j) (fun i => P.w i j)]
    exact sum_congr (fun i => by
      show _ = (if g j = i then 1 else 0) * P.w i j
      split <;> grind))

/-- A constant answer is right with the probability of that secret.
Python: `tpf.leakage.accuracy`. -/
theorem accuracy_const (P : FinDist n m) (i : Fin n) : P.accuracy (fun _ => i) = P.margS i := rfl

/-- The prior vulnerability is the accuracy of the best constant answer: no constant does better and
one attains it. Python: `tpf.leakage.prior_vulnerability`. -/
theorem priorVulnerability_is_best_constant (P : FinDist (n + 1) m) :
    (∀ i, P.accuracy (fun _ => i) ≤ P.priorVulnerability)
      ∧ P.accuracy (fun _ => argmax n P.margS) = P.priorVulnerability :=
  ⟨fun i => le_maxi P.margS i, (maxi_eq_argmax n P.margS_nonneg).symm⟩

/-- No predictor exceeds the posterior vulnerability. Python: `tpf.leakage.posterior_vulnerability`.
-/
theorem randomisedAccuracy_le_posterior (P : FinDist n m) (G : Kernel m n) :
    P.randomisedAccuracy G ≤ P.posteriorVulnerability :=
  sum_le (fun j => by
    have h : sum n (fun i => G.p j i * P.w i j)
        ≤ sum n (fun i => G.p j i * maxi n (fun i => P.w i j)) :=
      sum_le (fun i => Rat.mul_le_mul_of_nonneg_left (le_maxi (fun i => P.w i j) i) (G.nonneg j i))
    rwa [sum_mul_right, G.total, Rat.one_mul] at h)

/-- No predictor, with or without chance, beats the best constant by more than the gain.
Source: *Speaking to Silicon*, §5-8 (a predictor above the baseline).
Python: `tpf.leakage.accuracy`, `vulnerability_gain`. -/
theorem randomisedAccuracy_sub_baseline_le_gain (P : FinDist n m) (G : Kernel m n) :
    P.randomisedAccuracy G - P.priorVulnerability ≤ P.vulnerabilityGain := by
  have := P.randomisedAccuracy_le_posterior G
  unfold vulnerabilityGain
  grind

/-- No predictor beats the best constant by more than the gain.
Source: *Speaking to Silicon*, §5-8 (a predictor above the baseline).
Python: `tpf.leakage.accuracy`, `vulnerability_gain`. -/
theorem accuracy_sub_baseline_le_gain (P : FinDist n m) (g : Fin m → Fin n) :
    P.accuracy g - P.priorVulnerability ≤ P.vulnerabilityGain :=
  P.accuracy_eq_randomisedAccuracy g ▸ P.randomisedAccuracy_sub_baseline_le_gain _

/-- No predictor beats the best constant by more than the total-variation leakage.
Python: `tpf.leakage.accuracy`, `tv_leak`. -/
theorem accuracy_sub_baseline_le_tvLeak (P : FinDist n m) (g : Fin m → Fin n) :
    P.accuracy g - P.priorVulnerability ≤ P.tvLeak :=
  Rat.le_trans (P.accuracy_sub_baseline_le_gain g) P.vulnerabilityGain_le_tvLeak

/-- The bound is attained by the predictor of the maximum posterior.
Python: `tpf.leakage.accuracy`, `posterior_vulnerability`. -/
theorem maximumPosterior_attains_gain (P : FinDist (n + 1) m) :
    P.accuracy P.maximumPosterior - P.priorVulnerability = P.vulnerabilityGain := by
  have h : P.accuracy P.maximumPosterior = P.posteriorVulnerability :=
    sum_congr (fun j => (maxi_eq_argmax n (fun i => P.nonneg i j)).symm)
  unfold vulnerabilityGain
  rw [h]

/-- A predictor above the baseline shows that the observation depends on the secret: *predictor
above baseline implies dependence* of *Speaking to Silicon*, §5-8, for predictors with or without
chance. Python: `tpf.leakage.accuracy`. -/
theorem above_baseline_not_independent_randomised (P : FinDist n m) (G : Kernel m n)
    (h : P.priorVulnerability < P.randomisedAccuracy G) : ¬ P.Independent := by
  intro hi
  have h1 := P.randomisedAccuracy_sub_baseline_le_gain G
  rw [P.independent_vulnerabilityGain_eq_zero hi] at h1
  grind

/-- A predictor above the baseline shows that the observation depends on the secret: *predictor
above baseline implies dependence* of *Speaking to Silicon*, §5-8.
Python: `tpf.leakage.accuracy`. -/
theorem above_baseline_not_independent (P : FinDist n m) (g : Fin m → Fin n)
    (h : P.priorVulnerability < P.accuracy g) : ¬ P.Independent :=
  P.above_baseline_not_independent_randomised (Kernel.ofFun g)
    (P.accuracy_eq_randomisedAccuracy g ▸ h)

/-- The same read the other way: without dependence no predictor exceeds the baseline. This is the
null hypothesis that a finite-sample certificate rejects. Python: `tpf.leakage.accuracy`. -/
theorem independent_accuracy_le_baseline (P : FinDist n m) (h : P.Independent)
    (g : Fin m → Fin n) : P.accuracy g ≤ P.priorVulnerability := by
  have h1 := P.accuracy_sub_baseline_le_gain g
  rw [P.independent_vulnerabilityGain_eq_zero h] at h1
  grind

/-- Some predictor is above the baseline exactly where the gain is positive.
Python: `tpf.leakage.vulnerability_gain`. -/
theorem exists_predictor_above_baseline_iff (P : FinDist (n + 1) m) :
    (∃ g, P.priorVulnerability < P.accuracy g) ↔ 0 < P.vulnerabilityGain := by
  constructor
  · rintro ⟨g, hg⟩
    have := P.accuracy_sub_baseline_le_gain g
    grind
  · intro h
    have := P.maximumPosterior_attains_gain
    exact ⟨P.maximumPosterior, by grind⟩

/-- Above one half is not above the baseline: here the constant answer is right nine times in ten,
an answer by the observation six times in ten, and it is worse than nothing.
Python: `tpf.leakage.prior_vulnerability`. -/
theorem above_half_may_be_below_baseline :
    rareWins.accuracy id = 3 / 5 ∧ rareWins.priorVulnerability = 9 / 10 := by decide +kernel

example : copy2.accuracy id = 1 ∧ copy2.maximumPosterior 0 = 0 ∧ copy2.maximumPosterior 1 = 1 := by
  decide +kernel
example : ¬ copy2.Independent := copy2.above_baseline_not_independent id (by decide +kernel)
example : copy2.randomisedAccuracy noisy = 3 / 4 := by decide +kernel
example : coins.accuracy id ≤ coins.priorVulnerability :=
  coins.independent_accuracy_le_baseline (by unfold Independent; decide +kernel) id

end Silicon.FinDist
