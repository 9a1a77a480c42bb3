import Silicon.Energy

/-!
# In which direction each argument moves the energy per share
-/

noncomputable section

namespace Silicon

variable {q q' k k' n n' c c' r r' s s' : Rat}

-- More work, higher break-even recall.
theorem breakEven_le_of_work_le (hs : s ≤ 1) (h : work q k n c ≤ work q' k' n' c') :
    breakEvenRecall q k n c s ≤ breakEvenRecall q' k' n' c' s := by
  have := Rat.mul_le_mul_of_nonneg_left h (show 0 ≤ 1 - s by grind)
  unfold breakEvenRecall; grind

-- More work, more energy.
theorem energy_le_of_work_le (hr : 0 < r) (hs : s ≤ 1) (h : work q k n c ≤ work q' k' n' c') :
    energyPerShare q k n c r s ≤ energyPerShare q' k' n' c' r s :=
  div_le_div_right (Rat.le_of_lt hr) (breakEven_le_of_work_le hs h)

-- Strictly more work, strictly more energy where not all power is static.
theorem energy_lt_of_work_lt (hr : 0 < r) (hs : s < 1) (h : work q k n c < work q' k' n' c') :
    energyPerShare q k n c r s < energyPerShare q' k' n' c' r s := by
  have := Rat.mul_lt_mul_of_pos_left h (show 0 < 1 - s by grind)
  exact div_lt_div_right hr (by unfold breakEvenRecall; grind)

/-- More energy where more candidates are kept (at the same recall).
Python: `tpf.energy.energy_per_share`. -/
theorem energy_mono_keepRate (hr : 0 < r) (hs : s ≤ 1) (hn : 0 < n) (hk : k ≤ n) (h : q ≤ q') :
    energyPerShare q k n c r s ≤ energyPerShare q' k n c r s := by
  have ha : k / n ≤ 1 := by rw [div_le_iff hn]; grind
  have := Rat.mul_le_mul_of_nonneg_right h (show 0 ≤ 1 - k / n by grind)
  exact energy_le_of_work_le hr hs (by unfold work; grind)

/-- Strictly more, where an abort comes before the last round and not all power is static. -/
theorem energy_strictMono_keepRate (hr : 0 < r) (hs : s < 1) (hn : 0 < n) (hk : k < n)
    (h : q < q') : energyPerShare q k n c r s < energyPerShare q' k n c r s := by
  have ha : k / n < 1 := by rw [Rat.div_lt_iff hn]; grind
  have := Rat.mul_lt_mul_of_pos_left h (show 0 < 1 - k / n by grind)
  exact energy_lt_of_work_lt hr hs (by unfold work; grind)

/-- More energy where the abort comes later. Python: `tpf.energy.energy_per_share`. -/
theorem energy_mono_abortRound (hr : 0 < r) (hs : s ≤ 1) (hn : 0 < n) (hq : q ≤ 1) (h : k ≤ k') :
    energyPerShare q k n c r s ≤ energyPerShare q k' n c r s := by
  have h1 := div_le_div_right (Rat.le_of_lt hn) h
  have := Rat.mul_le_mul_of_nonneg_left h1 (show 0 ≤ 1 - q by grind)
  exact energy_le_of_work_le hr hs (by unfold work; grind)

/-- Strictly more, where something is aborted and not all power is static. -/
theorem energy_strictMono_abortRound (hr : 0 < r) (hs : s < 1) (hn : 0 < n) (hq : q < 1)
    (h : k < k') : energyPerShare q k n c r s < energyPerShare q k' n c r s := by
  have := Rat.mul_lt_mul_of_pos_left (div_lt_div_right hn h) (show 0 < 1 - q by grind)
  exact energy_lt_of_work_lt hr hs (by unfold work; grind)

/-- Less energy, relative to a full hash, where the hash has more rounds and the abort comes after
the same round. Python: `tpf.energy.energy_per_share`. -/
theorem energy_anti_rounds (hr : 0 < r) (hs : s ≤ 1) (hn : 0 < n) (hk : 0 ≤ k) (hq : q ≤ 1)
    (h : n ≤ n') : energyPerShare q k n' c r s ≤ energyPerShare q k n c r s := by
  have := Rat.mul_le_mul_of_nonneg_left (frac_anti hn hk h) (show 0 ≤ 1 - q by grind)
  exact energy_le_of_work_le hr hs (by unfold work; grind)

/-- More energy where the filter itself costs more. Python: `tpf.energy.energy_per_share`. -/
theorem energy_mono_filterCost (hr : 0 < r) (hs : s ≤ 1) (h : c ≤ c') :
    energyPerShare q k n c r s ≤ energyPerShare q k n c' r s :=
  energy_le_of_work_le hr hs (by unfold work; grind)

/-- Strictly more, where not all power is static. -/
theorem energy_strictMono_filterCost (hr : 0 < r) (hs : s < 1) (h : c < c') :
    energyPerShare q k n c r s < energyPerShare q k n c' r s :=
  energy_lt_of_work_lt hr hs (by unfold work; grind)

/-- Less energy per share where more winners are kept (at the same keep rate).
Python: `tpf.energy.energy_per_share`. -/
theorem energy_anti_recall (hr : 0 < r) (hb : 0 ≤ breakEvenRecall q k n c s) (h : r ≤ r') :
    energyPerShare q k n c r' s ≤ energyPerShare q k n c r s := by
  unfold energyPerShare
  exact frac_anti hr hb h

/-- Strictly less, where a candidate costs any energy at all. -/
theorem energy_strictAnti_recall (hr : 0 < r) (hb : 0 < breakEvenRecall q k n c s) (h : r < r') :
    energyPerShare q k n c r' s < energyPerShare q k n c r s := by
  unfold energyPerShare
  rw [Rat.div_lt_iff (by grind)]
  have h1 : 0 < breakEvenRecall q k n c s / r := by rw [Rat.lt_div_iff hr]; grind
  have h2 := Rat.mul_lt_mul_of_pos_left h h1
  rwa [Rat.div_mul_cancel (by grind)] at h2

/-- Static power dilutes what a filter saves: more energy where more of the power is static, as
long as the filter works less than a full hash per candidate.
Python: `tpf.energy.energy_per_share`. -/
theorem energy_mono_staticShare (hr : 0 < r) (hw : work q k n c ≤ 1) (h : s ≤ s') :
    energyPerShare q k n c r s ≤ energyPerShare q k n c r s' := by
  have := Rat.mul_le_mul_of_nonneg_right h (show 0 ≤ 1 - work q k n c by grind)
  exact div_le_div_right (Rat.le_of_lt hr) (by unfold breakEvenRecall; grind)

/-- And it dilutes what a filter wastes, where it works more than a full hash per candidate.
Python: `tpf.energy.energy_per_share`. -/
theorem energy_anti_staticShare (hr : 0 < r) (hw : 1 ≤ work q k n c) (h : s ≤ s') :
    energyPerShare q k n c r s' ≤ energyPerShare q k n c r s := by
  have := Rat.mul_le_mul_of_nonneg_right h (show 0 ≤ work q k n c - 1 by grind)
  exact div_le_div_right (Rat.le_of_lt hr) (by unfold breakEvenRecall; grind)

/-! ## Examples: the filter of `example_admissible` -/

example : energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10)
    < energyPerShare (1 / 2) 122 128 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_strictMono_keepRate (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 5 128 (1 / 1000) (9 / 10) (1 / 10)
    < energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_strictMono_abortRound (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 5 128 (1 / 1000) (9 / 10) (1 / 10)
    ≤ energyPerShare (1 / 4) 5 64 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_anti_rounds (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 122 128 0 (9 / 10) (1 / 10)
    < energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_strictMono_filterCost (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 122 128 (1 / 1000) 1 (1 / 10)
    < energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_strictAnti_recall (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) 0
    ≤ energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) :=
  energy_mono_staticShare (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 128 128 (1 / 2) (9 / 10) (1 / 10)
    ≤ energyPerShare (1 / 4) 128 128 (1 / 2) (9 / 10) 0 :=
  energy_anti_staticShare (by decide +kernel) (by decide +kernel) (by decide +kernel)

end Silicon
