import Silicon.Dist

/-!
# Leakage: how much an observation says about the secret

Three measures, each zero for an independent observation. Two of them, the total variation and the
chi-square leakage, are zero for no other one; the third, the gain of the best guess, is weaker:
`gain_zero_without_independence` shows a dependent observation with gain zero.
-/

noncomputable section

namespace Silicon.FinDist

variable {n m : Nat}

/-- Total-variation distance between the joint distribution and the product of its marginal ones.
Python: `tpf.leakage.tv_leak`. -/
def tvLeak (P : FinDist n m) : Rat := sum n (fun i => sum m (fun j => rabs (P.dev i j))) / 2

/-- Chi-square distance between the joint distribution and the product of its marginal ones (the
squared contingency coefficient, chi-square over the number of trials); cells with an expected
probability of zero count as zero. Python: `tpf.leakage.chi_square_leak`. -/
def chiSquareLeak (P : FinDist n m) : Rat :=
  sum n (fun i => sum m (fun j => P.dev i j * P.dev i j / (P.margS i * P.margO j)))

/-- Probability of the best guess of the secret without any observation.
Python: `tpf.leakage.prior_vulnerability`. -/
def priorVulnerability (P : FinDist n m) : Rat := maxi n P.margS

/-- Probability of the best guess of the secret with the observation.
Python: `tpf.leakage.posterior_vulnerability`. -/
def posteriorVulnerability (P : FinDist n m) : Rat := sum m (fun j => maxi n (fun i => P.w i j))

/-- What the observation adds to the probability of the best guess.
Python: `tpf.leakage.vulnerability_gain`. -/
def vulnerabilityGain (P : FinDist n m) : Rat := P.posteriorVulnerability - P.priorVulnerability

/-! ## No leakage is negative -/

/-- Total-variation leakage is not negative. Source: *Speaking to Silicon*, §5-8 (leakage).
Python: `tpf.leakage.tv_leak`. -/
theorem tvLeak_nonneg (P : FinDist n m) : 0 ≤ P.tvLeak :=
  div_nonneg (sum_nonneg (fun i => sum_nonneg (fun j => rabs_nonneg (P.dev i j)))) (by decide +kernel)

-- What a cell adds to the chi-square leakage is not negative.
theorem chiSquare_cell_nonneg (P : FinDist n m) (i : Fin n) (j : Fin m) :
    0 ≤ P.dev i j * P.dev i j / (P.margS i * P.margO j) :=
  div_nonneg (mul_self_nonneg _) (Rat.mul_nonneg (P.margS_nonneg i) (P.margO_nonneg j))

/-- Chi-square leakage is not negative. Source: *Speaking to Silicon*, §5-8 (leakage).
Python: `tpf.leakage.chi_square_leak`. -/
theorem chiSquareLeak_nonneg (P : FinDist n m) : 0 ≤ P.chiSquareLeak :=
  sum_nonneg (fun i => sum_nonneg (fun j => P.chiSquare_cell_nonneg i j))

/-- An observation never lowers the probability of the best guess.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.vulnerability_gain`. -/
theorem vulnerabilityGain_nonneg (P : FinDist n m) : 0 ≤ P.vulnerabilityGain := by
  have h : P.priorVulnerability ≤ P.posteriorVulnerability :=
    maxi_le (sum_nonneg (fun j => maxi_nonneg _))
      (fun i => sum_le (fun j => le_maxi (fun i => P.w i j) i))
  unfold vulnerabilityGain
  grind

/-- Total-variation leakage is at most one. Python: `tpf.leakage.tv_leak`. -/
theorem tvLeak_le_one (P : FinDist n m) : P.tvLeak ≤ 1 := by
  have h : sum n (fun i => sum m (fun j => rabs (P.dev i j)))
      ≤ sum n (fun i => sum m (fun j => P.w i j + P.margS i * P.margO j)) :=
    sum_le (fun i => sum_le (fun j => by
      have h1 := P.nonneg i j
      have h2 := Rat.mul_nonneg (P.margS_nonneg i) (P.margO_nonneg j)
      unfold rabs dev
      grind))
  have h2 : sum n (fun i => sum m (fun j => P.w i j + P.margS i * P.margO j)) = 2 := by
    have hr (i : Fin n) : sum m (fun j => P.w i j + P.margS i * P.margO j) = 2 * P.margS i := by
      rw [sum_add, sum_mul_left, sum_margO]
      show P.margS i + P.margS i * 1 = 2 * P.margS i
      grind
    rw [sum_congr hr, sum_mul_left, sum_margS, Rat.mul_one]
  unfold tvLeak
  rw [div_le_iff (by decide +kernel)]
  grind

/-! ## Zero leakage and independence -/

/-- Total-variation leakage is zero exactly for an independent observation: *independence implies
zero leakage* of *Speaking to Silicon*, §5-8, and its converse. Python: `tpf.leakage.tv_leak`. -/
theorem tvLeak_eq_zero_iff_independent (P : FinDist n m) : P.tvLeak = 0 ↔ P.Independent := by
  rw [independent_iff_dev]
  have h0 : ∀ i, 0 ≤ sum m (fun j => rabs (P.dev i j)) :=
    fun i => sum_nonneg (fun j => rabs_nonneg _)
  have h1 : P.tvLeak = 0 ↔ sum n (fun i => sum m (fun j => rabs (P.dev i j))) = 0 := by
    unfold tvLeak; constructor <;> grind
  rw [h1, sum_eq_zero_iff h0]
  exact forall_congr' (fun i => by
    rw [sum_eq_zero_iff (fun j => rabs_nonneg _)]
    exact forall_congr' (fun j => rabs_eq_zero))

/-- Chi-square leakage is zero exactly for an independent observation.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.chi_square_leak`. -/
theorem chiSquareLeak_eq_zero_iff_independent (P : FinDist n m) :
    P.chiSquareLeak = 0 ↔ P.Independent := by
  rw [independent_iff_dev]
  unfold chiSquareLeak
  rw [sum_eq_zero_iff (fun i => sum_nonneg (fun j => P.chiSquare_cell_nonneg i j))]
  apply forall_congr'
  intro i
  rw [sum_eq_zero_iff (fun j => P.chiSquare_cell_nonneg i j)]
  apply forall_congr'
  intro j
  constructor
  · intro h
    by_cases h0 : P.margS i * P.margO j = 0
    · exact P.dev_eq_zero_of_marg i j h0
    · have h2 := Rat.div_mul_cancel (a := P.dev i j * P.dev i j) h0
      rw [h, Rat.zero_mul] at h2
      exact mul_self_eq_zero.mp h2.symm
  · intro h; rw [h, Rat.mul_zero, Rat.div_def, Rat.zero_mul]

/-- The two measures vanish together. Python: `tpf.leakage.tv_leak`, `chi_square_leak`. -/
theorem tvLeak_eq_zero_iff_chiSquareLeak_eq_zero (P : FinDist n m) :
    P.tvLeak = 0 ↔ P.chiSquareLeak = 0 := by
  rw [tvLeak_eq_zero_iff_independent, chiSquareLeak_eq_zero_iff_independent]

/-- An independent observation does not help the best guess: *independence implies zero leakage* of
*Speaking to Silicon*, §5-8, for the Bayes vulnerability.
Python: `tpf.leakage.vulnerability_gain`. -/
theorem independent_vulnerabilityGain_eq_zero (P : FinDist n m) (h : P.Independent) :
    P.vulnerabilityGain = 0 := by
  have e : P.posteriorVulnerability = P.priorVulnerability := by
    unfold posteriorVulnerability priorVulnerability
    rw [sum_congr (fun j => maxi_congr (fun i => h i j)),
      sum_congr (fun j => maxi_mul (P.margO_nonneg j) P.margS), sum_mul_left, sum_margO, Rat.mul_one]
  unfold vulnerabilityGain
  rw [e]; grind

/-- Zero gain is not independence: here wins come only with the observation 1, so the observation
says much, and yet "loses" stays the best guess in every case. A verdict of zero gain is therefore
no verdict of zero leakage. Python: `tpf.leakage.vulnerability_gain`. -/
theorem gain_zero_without_independence :
    rareWins.vulnerabilityGain = 0 ∧ ¬ rareWins.Independent ∧ rareWins.tvLeak = 1 / 10
      ∧ rareWins.chiSquareLeak = 1 / 9 := by
  unfold Independent
  decide +kernel

/-! ## Order of the measures -/

-- Total variation is the sum of the positive deviations.
theorem sum_pos_dev (P : FinDist n m) :
    sum n (fun i => sum m (fun j => pos (P.dev i j))) = P.tvLeak := by
  unfold tvLeak
  rw [sum_congr (fun i => sum_congr (fun j => rabs_eq (P.dev i j))),
    sum_congr (fun i => sum_sub _ _), sum_sub, sum_congr (fun i => sum_mul_left _ _), sum_mul_left,
    sum_eq_zero (fun i => P.sum_dev_row i)]
  grind

/-- The gain of the best guess is at most the total-variation leakage, with constant one.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.vulnerability_gain`,
`tv_leak`. -/
theorem vulnerabilityGain_le_tvLeak (P : FinDist n m) : P.vulnerabilityGain ≤ P.tvLeak := by
  have hp : 0 ≤ P.priorVulnerability := maxi_nonneg _
  have h : P.posteriorVulnerability ≤ sum m (fun j =>
      P.priorVulnerability * P.margO j + sum n (fun i => pos (P.dev i j))) := by
    apply sum_le
    intro j
    have h0 : 0 ≤ sum n (fun i => pos (P.dev i j)) := sum_nonneg (fun i => pos_nonneg _)
    apply maxi_le
    · have := Rat.mul_nonneg hp (P.margO_nonneg j)
      grind
    · intro i
      have h1 := term_le_sum (fun i => pos_nonneg (P.dev i j)) i
      have h2 := Rat.mul_le_mul_of_nonneg_right (le_maxi P.margS i) (P.margO_nonneg j)
      have h3 := le_pos (P.dev i j)
      have h4 : P.dev i j = P.w i j - P.margS i * P.margO j := rfl
      unfold priorVulnerability
      grind
  rw [sum_add, sum_mul_left, sum_margO, ← sum_comm, sum_pos_dev] at h
  unfold vulnerabilityGain
  grind

/-- No constant below one would do: a copy of a fair coin has gain one half and total variation one
half. Python: `tpf.leakage.vulnerability_gain`, `tv_leak`. -/
theorem vulnerabilityGain_le_tvLeak_tight :
    copy2.vulnerabilityGain = 1 / 2 ∧ copy2.tvLeak = 1 / 2 := by decide +kernel

/-- Four times the squared total variation is at most the chi-square leakage (Cauchy), so that a
small chi-square bounds the other two measures. Python: `tpf.leakage.chi_square_leak`. -/
theorem four_tvLeak_sq_le_chiSquareLeak (P : FinDist n m) :
    4 * (P.tvLeak * P.tvLeak) ≤ P.chiSquareLeak := by
  have hsq (x : Rat) : rabs x * rabs x = x * x := by
    unfold rabs; rcases Rat.le_total (a := x) (b := -x) with h | h
    · rw [show max x (-x) = -x by grind]; grind
    · rw [show max x (-x) = x by grind]
  have hrow (i : Fin n) : sum m (fun j => rabs (P.dev i j)) * sum m (fun j => rabs (P.dev i j))
      / P.margS i ≤ sum m (fun j => P.dev i j * P.dev i j / (P.margS i * P.margO j)) := by
    have h := sq_sum_div_le (fun j => rabs (P.dev i j)) (fun j => P.margS i * P.margO j)
      (fun j => Rat.mul_nonneg (P.margS_nonneg i) (P.margO_nonneg j))
      (fun j hj => rabs_eq_zero.mpr (P.dev_eq_zero_of_marg i j hj))
    rw [sum_mul_left, sum_margO, Rat.mul_one] at h
    simp only [hsq] at h
    exact h
  have h := sq_sum_div_le (fun i => sum m (fun j => rabs (P.dev i j))) P.margS P.margS_nonneg
    (fun i hi => sum_eq_zero (fun j => rabs_eq_zero.mpr
      (P.dev_eq_zero_of_marg i j (by rw [hi, Rat.zero_mul]))))
  have h2 := sum_le hrow
  have h3 : ∀ x : Rat, x / 1 = x := by intro x; grind
  rw [sum_margS, h3] at h
  unfold tvLeak chiSquareLeak
  grind

/-- Equality holds for a copy of a fair coin. Python: `tpf.leakage.chi_square_leak`. -/
theorem four_tvLeak_sq_le_chiSquareLeak_tight :
    4 * (copy2.tvLeak * copy2.tvLeak) = copy2.chiSquareLeak := by decide +kernel

/-- The secret has two values: each contributes the same to the total variation. -/
theorem tvLeak_two (P : FinDist 2 m) : P.tvLeak = sum m (fun j => rabs (P.dev 1 j)) := by
  have h (j : Fin m) : rabs (P.dev 0 j) = rabs (P.dev 1 j) := by
    have := P.sum_dev_col j
    rw [sum_two] at this
    rw [show P.dev 0 j = - P.dev 1 j by grind, rabs_neg]
  unfold tvLeak
  rw [sum_two, sum_congr h]
  grind

-- Where the secret has two values, each has half of the positive deviations.
theorem sum_pos_dev_two (P : FinDist 2 m) : sum m (fun j => pos (P.dev 1 j)) = P.tvLeak / 2 := by
  rw [tvLeak_two, sum_congr (fun j => rabs_eq (P.dev 1 j)), sum_sub, sum_mul_left, sum_dev_row]
  grind

example : coins.tvLeak = 0 ∧ coins.chiSquareLeak = 0 ∧ coins.vulnerabilityGain = 0 := by
  decide +kernel
example : coins.vulnerabilityGain = 0 :=
  coins.independent_vulnerabilityGain_eq_zero (by unfold Independent; decide +kernel)
example : copy2.priorVulnerability = 1 / 2 ∧ copy2.posteriorVulnerability = 1
    ∧ copy2.chiSquareLeak = 1 := by decide +kernel

end Silicon.FinDist
