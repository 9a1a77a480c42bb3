import Silicon.Processing

/-!
# Filters: keep rate and recall from the joint distribution

A filter decides from the observation, with or without chance, whether a candidate is kept. Its keep
rate and its recall are therefore fixed by the joint distribution of win and observation; the recall
exceeds the keep rate by what the observation leaks, at most. Row 1 of the distribution is a win.
-/

noncomputable section

namespace Silicon

/-- A filter: the probability with which it keeps a candidate, for each observation. -/
structure KeepRule (m : Nat) where
  /-- Probability that a candidate with the observation `j` is kept. -/
  keep : Fin m → Rat
  nonneg : ∀ j, 0 ≤ keep j
  le_one : ∀ j, keep j ≤ 1

/-- A filter without chance: it keeps the candidates whose observation is in the set. -/
def KeepRule.ofSet {m : Nat} (A : Fin m → Bool) : KeepRule m where
  keep j := if A j then 1 else 0
  nonneg j := by split <;> decide +kernel
  le_one j := by split <;> decide +kernel

/-- A filter as a randomised map of the observation to its decision, 1 for keep. -/
def KeepRule.toKernel {m : Nat} (F : KeepRule m) : Kernel m 2 where
  p j l := if l = 1 then F.keep j else 1 - F.keep j
  nonneg j l := by have := F.nonneg j; have := F.le_one j; split <;> grind
  total j := by
    rw [sum_two]
    show (1 - F.keep j) + F.keep j = 1
    grind

namespace FinDist

variable {m l : Nat}

/-- Probability that a candidate wins. -/
def pWin (P : FinDist 2 m) : Rat := P.margS 1

/-- Part of all candidates that the filter keeps. -/
def keepRate (P : FinDist 2 m) (F : KeepRule m) : Rat := sum m (fun j => P.margO j * F.keep j)

/-- Part of the winners that the filter keeps. -/
def recall (P : FinDist 2 m) (F : KeepRule m) : Rat := sum m (fun j => P.w 1 j * F.keep j) / P.pWin

/-- Total-variation leakage per winner: the most by which the recall of a filter can exceed its keep
rate. -/
def advantage (P : FinDist 2 m) : Rat := P.tvLeak / (2 * P.pWin)

/-- The filter that keeps each observation which wins oftener than candidates do on the whole. -/
def bestRule (P : FinDist 2 m) : KeepRule m := KeepRule.ofSet (fun j => decide (0 < P.dev 1 j))

/-! ## Keep rate and recall -/

-- A keep rate is not negative.
theorem keepRate_nonneg (P : FinDist 2 m) (F : KeepRule m) : 0 ≤ P.keepRate F :=
  sum_nonneg (fun j => Rat.mul_nonneg (P.margO_nonneg j) (F.nonneg j))

-- A keep rate is at most one.
theorem keepRate_le_one (P : FinDist 2 m) (F : KeepRule m) : P.keepRate F ≤ 1 := by
  rw [← P.sum_margO]
  exact sum_le (fun j => by
    have := Rat.mul_le_mul_of_nonneg_left (F.le_one j) (P.margO_nonneg j)
    grind)

-- A recall is not negative.
theorem recall_nonneg (P : FinDist 2 m) (F : KeepRule m) : 0 ≤ P.recall F :=
  div_nonneg (sum_nonneg (fun j => Rat.mul_nonneg (P.nonneg 1 j) (F.nonneg j))) (P.margS_nonneg 1)

-- Recall times the probability of a win is the probability of a win that is kept.
theorem recall_mul_pWin (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin) :
    P.recall F * P.pWin = sum m (fun j => P.w 1 j * F.keep j) :=
  Rat.div_mul_cancel (by grind)

-- A recall is at most one.
theorem recall_le_one (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin) : P.recall F ≤ 1 := by
  unfold recall
  rw [div_le_iff hp, Rat.one_mul]
  exact sum_le (fun j => by
    have := Rat.mul_le_mul_of_nonneg_left (F.le_one j) (P.nonneg 1 j)
    grind)

/-- A winner that is kept is a candidate that is kept. Python: `tpf.energy.energy_per_share`. -/
theorem recall_mul_pWin_le_keepRate (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin) :
    P.recall F * P.pWin ≤ P.keepRate F := by
  rw [recall_mul_pWin P F hp]
  exact sum_le (fun j => Rat.mul_le_mul_of_nonneg_right (P.w_le_margO 1 j) (F.nonneg j))

/-- Keep rate and recall are those of the filter's decision alone: `P.through F.toKernel` is the
joint distribution of win and decision. -/
theorem keepRate_recall_of_decision (P : FinDist 2 m) (F : KeepRule m) :
    P.keepRate F = (P.through F.toKernel).margO 1
      ∧ P.recall F = (P.through F.toKernel).w 1 1 / (P.through F.toKernel).pWin := by
  unfold pWin
  rw [margO_through, margS_through]
  exact ⟨rfl, rfl⟩

/-! ## Recall above keep rate is leakage -/

-- Recall above keep rate is the mean deviation of what is kept, per winner.
theorem recall_sub_keepRate (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin) :
    P.recall F - P.keepRate F = sum m (fun j => P.dev 1 j * F.keep j) / P.pWin := by
  have h : sum m (fun j => P.dev 1 j * F.keep j)
      = sum m (fun j => P.w 1 j * F.keep j) - P.pWin * P.keepRate F := by
    unfold keepRate
    rw [← sum_mul_left, ← sum_sub]
    exact sum_congr (fun j => by unfold dev pWin; grind)
  have hp0 : P.pWin ≠ 0 := by grind
  rw [h]
  unfold recall
  have h2 := Rat.mul_inv_cancel _ hp0
  rw [Rat.div_def, Rat.div_def]
  grind

-- A part of a number is at most its positive part.
theorem mul_keep_le_pos {x t : Rat} (h0 : 0 ≤ t) (h1 : t ≤ 1) : x * t ≤ pos x := by
  have := Rat.mul_le_mul_of_nonneg_right (le_pos x) h0
  have := Rat.mul_le_mul_of_nonneg_left h1 (pos_nonneg x)
  grind

-- The advantage is the sum of the positive deviations of the winners, per winner.
theorem advantage_eq (P : FinDist 2 m) :
    P.advantage = sum m (fun j => pos (P.dev 1 j)) / P.pWin := by
  rw [sum_pos_dev_two]
  unfold advantage
  rw [Rat.div_def, Rat.div_def, Rat.div_def, Rat.inv_mul_rev]
  grind

-- The advantage is not negative.
theorem advantage_nonneg (P : FinDist 2 m) : 0 ≤ P.advantage :=
  P.advantage_eq ▸ div_nonneg (sum_nonneg (fun j => pos_nonneg (P.dev 1 j))) (P.margS_nonneg 1)

/-- The recall of a filter exceeds its keep rate by at most the total-variation leakage over twice
the probability of a win. Source: *Speaking to Silicon*, §12; the step that its proof lacks.
Python: `tpf.leakage.tv_leak`. -/
theorem recall_sub_keepRate_le_advantage (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin) :
    P.recall F - P.keepRate F ≤ P.advantage := by
  rw [recall_sub_keepRate P F hp, advantage_eq]
  exact div_le_div_right (Rat.le_of_lt hp)
    (sum_le (fun j => mul_keep_le_pos (F.nonneg j) (F.le_one j)))

/-- One filter attains this bound. Python: `tpf.leakage.tv_leak`. -/
theorem bestRule_attains_advantage (P : FinDist 2 m) (hp : 0 < P.pWin) :
    P.recall P.bestRule - P.keepRate P.bestRule = P.advantage := by
  rw [recall_sub_keepRate P _ hp, advantage_eq]
  congr 1
  exact sum_congr (fun j => by
    show P.dev 1 j * (if decide (0 < P.dev 1 j) = true then 1 else 0) = pos (P.dev 1 j)
    unfold pos
    by_cases h : 0 < P.dev 1 j
    · rw [if_pos (decide_eq_true h)]; grind
    · rw [if_neg (by rw [decide_eq_true_eq]; exact h)]; grind)

-- The advantage is at most one.
theorem advantage_le_one (P : FinDist 2 m) (hp : 0 < P.pWin) : P.advantage ≤ 1 := by
  have h1 := P.bestRule_attains_advantage hp
  have h2 := P.recall_le_one P.bestRule hp
  have h3 := P.keepRate_nonneg P.bestRule
  grind

/-- Processing the timing first does not help a filter. Python: `tpf.leakage.tv_leak`. -/
theorem advantage_through_le (P : FinDist 2 m) (K : Kernel m l) :
    (P.through K).advantage ≤ P.advantage := by
  unfold advantage pWin
  rw [margS_through]
  exact div_le_div_right
    (Rat.mul_nonneg (by decide +kernel) (P.margS_nonneg 1)) (P.tvLeak_through_le K)

-- No leakage, no advantage.
theorem advantage_eq_zero (P : FinDist 2 m) (h : P.tvLeak = 0) : P.advantage = 0 := by
  unfold advantage; rw [h, Rat.div_def, Rat.zero_mul]

/-- An independent observation is one for which every filter keeps winners as often as other
candidates. Python: `tpf.leakage.tv_leak`. -/
theorem independent_iff_recall_eq_keepRate (P : FinDist 2 m) (hp : 0 < P.pWin) :
    P.Independent ↔ ∀ F, P.recall F = P.keepRate F := by
  constructor
  · intro h F
    have h1 := recall_sub_keepRate P F hp
    rw [sum_eq_zero (fun j => by rw [(P.independent_iff_dev.mp h) 1 j, Rat.zero_mul]), Rat.div_def,
      Rat.zero_mul] at h1
    grind
  · intro h
    have h1 := P.bestRule_attains_advantage hp
    have h2 := h P.bestRule
    have h3 : P.tvLeak / (2 * P.pWin) * (2 * P.pWin) = P.tvLeak :=
      Rat.div_mul_cancel (by grind)
    have h4 : P.tvLeak / (2 * P.pWin) = 0 := by unfold advantage at h1; grind
    rw [h4, Rat.zero_mul] at h3
    exact P.tvLeak_eq_zero_iff_independent.mp h3.symm

/-! ## Examples -/

/-- A copy of a win of probability one quarter. -/
def copyQuarter : FinDist 2 2 where
  w := table2 (3 / 4) 0 0 (1 / 4)
  nonneg := by decide +kernel
  total := by decide +kernel

/-- The filter that keeps the observation 1. -/
def keepOne : KeepRule 2 := KeepRule.ofSet (fun j => j = 1)

example : rareWins.pWin = 1 / 10 ∧ rareWins.keepRate keepOne = 1 / 2 ∧ rareWins.advantage = 1 / 2 := by
  decide +kernel
example : rareWins.recall keepOne - rareWins.keepRate keepOne ≤ rareWins.advantage :=
  rareWins.recall_sub_keepRate_le_advantage keepOne (by decide +kernel)
example : rareWins.recall rareWins.bestRule - rareWins.keepRate rareWins.bestRule = 1 / 2 := by
  decide +kernel
example : coins.recall keepOne = 1 / 2 ∧ coins.tvLeak = 0 := by decide +kernel
example : rareWins.keepRate (KeepRule.ofSet (fun _ => false)) = 0 := by decide +kernel
example : copyQuarter.recall ⟨fun _ => 1 / 3, by decide +kernel, by decide +kernel⟩ = 1 / 3 := by
  decide +kernel

end FinDist

end Silicon
