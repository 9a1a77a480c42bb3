import Silicon.Sum

/-!
# Energy of a filter that abandons hashes

Unit: the energy of one full hash of `n` rounds. Of all candidates the share `q` is kept (`keep
rate`), the others are abandoned after `k` rounds; the filter itself costs `c` per candidate; of the
winners the share `r` is kept (`recall`); `s` is the static share of the board's power, which flows
whether or not rounds are computed. Energy is counted per share that is returned, relative to no
filter. Rational division by zero gives zero in Lean, so each statement asks for `0 < r` and
`0 < n`.
-/

noncomputable section

namespace Silicon

/-- Work per candidate in full hashes. Python: `tpf.energy.work`. -/
def work (q k n c : Rat) : Rat := q + (1 - q) * (k / n) + c

/-- The recall at which a filter neither saves nor costs energy: the energy per candidate.
Python: `tpf.energy.break_even_recall`. -/
def breakEvenRecall (q k n c : Rat) (s : Rat := 0) : Rat := (1 - s) * work q k n c + s

/-- Energy per returned share relative to no filter. Python: `tpf.energy.energy_per_share`. -/
def energyPerShare (q k n c r : Rat) (s : Rat := 0) : Rat := breakEvenRecall q k n c s / r

/-- What the filter saves per returned share; negative where it costs.
Python: `1 - tpf.energy.energy_per_share`. -/
def saving (q k n c r : Rat) (s : Rat := 0) : Rat := 1 - energyPerShare q k n c r s

/-- Hash rate of a device without a filter that finds as many shares from the same energy.
Python: `tpf.energy.equivalent_hashrate`. -/
def equivalentHashrate (q k n c r : Rat) (s : Rat := 0) : Rat := 1 / energyPerShare q k n c r s

/-- The keep rate below which a filter of recall `r` saves.
Python: `tpf.energy.break_even_keep_rate`. -/
def breakEvenKeepRate (r k n c : Rat) (s : Rat := 0) : Rat :=
  ((r - s) / (1 - s) - c - k / n) / (1 - k / n)

/-- The published saving of an abort after `k` of `n` rounds.
Python: `tpf.energy.published_saving`. -/
def publishedSaving (k n : Rat) : Rat := 1 - k / n

/-- The numbers of a machine: the abort comes within the hash, the filter's own cost is not negative
and the static share of the power is between 0 and 1. -/
structure Machine (k n c s : Rat) : Prop where
  k_nonneg : 0 ≤ k
  k_le : k ≤ n
  n_pos : 0 < n
  c_nonneg : 0 ≤ c
  s_nonneg : 0 ≤ s
  s_le : s ≤ 1

/-- The numbers of a filter on a machine: the keep rate is between 0 and 1. -/
structure Admissible (q k n c s : Rat) : Prop extends Machine k n c s where
  q_nonneg : 0 ≤ q
  q_le : q ≤ 1

variable {q q' k k' n n' c c' r r' s s' : Rat}

-- The fraction of a hash before the abort is not negative.
theorem frac_nonneg (h : Admissible q k n c s) : 0 ≤ k / n :=
  div_nonneg h.k_nonneg (Rat.le_of_lt h.n_pos)

-- It is at most one.
theorem frac_le_one (h : Admissible q k n c s) : k / n ≤ 1 := by
  have := h.k_le
  rw [div_le_iff h.n_pos]; grind

-- Division by a positive number keeps the strict order.
theorem div_lt_div_right {a b d : Rat} (hd : 0 < d) (h : a < b) : a / d < b / d := by
  rw [Rat.div_lt_iff hd, Rat.div_mul_cancel (by grind)]; exact h

-- A larger denominator, a smaller quotient.
theorem frac_anti (hn : 0 < n) (hk : 0 ≤ k) (h : n ≤ n') : k / n' ≤ k / n := by
  rw [div_le_iff (by grind)]
  have h1 := Rat.mul_le_mul_of_nonneg_left h (div_nonneg hk (Rat.le_of_lt hn))
  rwa [Rat.div_mul_cancel (by grind)] at h1

/-! ## The arithmetic of the break-even recall -/

-- Work above the keep rate.
theorem work_sub_keep (q k n c : Rat) : work q k n c - q = (1 - q) * (k / n) + c := by
  unfold work; grind

-- Work above the fraction before the abort.
theorem work_sub_frac (q k n c : Rat) : work q k n c - k / n = q * (1 - k / n) + c := by
  unfold work; grind

/-- Without a filter cost the work is between the keep rate and one. -/
theorem keep_le_work (h : Admissible q k n c s) : q ≤ work q k n c := by
  have h1 := Rat.mul_nonneg (show 0 ≤ 1 - q by have := h.q_le; grind) (frac_nonneg h)
  have h2 := work_sub_keep q k n c
  have h3 := h.c_nonneg
  grind

-- The work is at least the fraction before the abort.
theorem frac_le_work (h : Admissible q k n c s) : k / n ≤ work q k n c := by
  have h1 := Rat.mul_nonneg h.q_nonneg (show 0 ≤ 1 - k / n by have := frac_le_one h; grind)
  have h2 := work_sub_frac q k n c
  have h3 := h.c_nonneg
  grind

/-- A mean with weight `s` of something at least `x` and one is at least `x`, for `x` up to one. -/
theorem le_mix {x w s : Rat} (h : x ≤ w) (hx : x ≤ 1) (h0 : 0 ≤ s) (h1 : s ≤ 1) :
    x ≤ (1 - s) * w + s := by
  have := Rat.mul_le_mul_of_nonneg_left h (show 0 ≤ 1 - s by grind)
  have := Rat.mul_le_mul_of_nonneg_left hx h0
  grind

-- The break-even recall is at least the keep rate.
theorem keep_le_breakEven (h : Admissible q k n c s) : q ≤ breakEvenRecall q k n c s :=
  le_mix (keep_le_work h) h.q_le h.s_nonneg h.s_le

-- It is at least the fraction before the abort.
theorem frac_le_breakEven (h : Admissible q k n c s) : k / n ≤ breakEvenRecall q k n c s :=
  le_mix (frac_le_work h) (frac_le_one h) h.s_nonneg h.s_le

/-! ## When a filter saves -/

/-- The unit: without a filter, that is keeping everything at no cost, the energy is one.
Python: `tpf.energy.energy_per_share`. -/
theorem no_filter_energy_eq_one (k n s : Rat) : energyPerShare 1 k n 0 1 s = 1 := by
  unfold energyPerShare breakEvenRecall work
  generalize k / n = a
  have h : ∀ x : Rat, x / 1 = x := by intro x; grind
  rw [h]; grind

/-- A filter saves exactly where its recall exceeds the break-even recall.
Source: energy accounting of *Speaking to Silicon*, §12, with false aborts and a static share.
Python: `tpf.energy.break_even_recall`, `energy_per_share`. -/
theorem saves_iff_breakEven_lt_recall (hr : 0 < r) :
    energyPerShare q k n c r s < 1 ↔ breakEvenRecall q k n c s < r := by
  unfold energyPerShare
  rw [Rat.div_lt_iff hr, Rat.one_mul]

/-- The form without a static share: a filter saves exactly where r > q + (1 - q) k/n + c.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.energy_per_share`. -/
theorem saves_iff (hr : 0 < r) :
    energyPerShare q k n c r < 1 ↔ q + (1 - q) * (k / n) + c < r := by
  rw [saves_iff_breakEven_lt_recall hr]
  unfold breakEvenRecall work
  grind

/-- It costs exactly where its recall is below the break-even recall.
Python: `tpf.energy.break_even_recall`. -/
theorem costs_iff_recall_lt_breakEven (hr : 0 < r) :
    1 < energyPerShare q k n c r s ↔ r < breakEvenRecall q k n c s := by
  unfold energyPerShare
  rw [Rat.lt_div_iff hr, Rat.one_mul]

/-- At the break-even recall the energy is the same with and without the filter.
Python: `tpf.energy.break_even_recall`. -/
theorem energy_at_breakEven (h : 0 < breakEvenRecall q k n c s) :
    energyPerShare q k n c (breakEvenRecall q k n c s) s = 1 := by
  unfold energyPerShare
  rw [Rat.div_def, Rat.mul_inv_cancel]
  grind

/-- A filter saves exactly where its keep rate is below the break-even keep rate, for an abort before
the last round and power that is not all static. Python: `tpf.energy.break_even_keep_rate`. -/
theorem saves_iff_keepRate_lt_breakEven (hr : 0 < r) (hn : 0 < n) (hk : k < n) (hs : s < 1) :
    energyPerShare q k n c r s < 1 ↔ q < breakEvenKeepRate r k n c s := by
  have ha : k / n < 1 := by rw [Rat.div_lt_iff hn]; grind
  have h1 : breakEvenRecall q k n c s < r ↔ work q k n c < (r - s) / (1 - s) := by
    rw [Rat.lt_div_iff (by grind)]
    unfold breakEvenRecall
    constructor <;> intro h <;> grind
  rw [saves_iff_breakEven_lt_recall hr, h1]
  unfold breakEvenKeepRate
  generalize (r - s) / (1 - s) = x
  rw [Rat.lt_div_iff (by grind)]
  have e := work_sub_frac q k n c
  constructor <;> intro h <;> grind

/-- A filter saves exactly where it equals a device of a higher hash rate.
Python: `tpf.energy.equivalent_hashrate`. -/
theorem saves_iff_equivalentHashrate_gt_one (hE : 0 < energyPerShare q k n c r s) :
    energyPerShare q k n c r s < 1 ↔ 1 < equivalentHashrate q k n c r s := by
  unfold equivalentHashrate
  rw [Rat.lt_div_iff hE, Rat.one_mul]

/-- Without information, that is where winners are kept no oftener than other candidates, no filter
saves. Source: *Speaking to Silicon*, §12. Python: `tpf.energy.energy_per_share`. -/
theorem no_information_no_saving (h : Admissible q k n c s) (hr : 0 < r) (hi : r ≤ q) :
    1 ≤ energyPerShare q k n c r s := by
  have := keep_le_breakEven h
  unfold energyPerShare
  rw [le_div_iff hr]
  grind

/-- Without information, the energy is that of no filter exactly where the filter costs nothing and
either keeps every candidate or aborts at once on a board without static power.
Python: `tpf.energy.energy_per_share`. -/
theorem no_information_energy_eq_one_iff (h : Admissible q k n c s) (hq : 0 < q) (hs : s < 1) :
    energyPerShare q k n c q s = 1 ↔ c = 0 ∧ (q = 1 ∨ (k = 0 ∧ s = 0)) := by
  have h1 : energyPerShare q k n c q s = 1 ↔ breakEvenRecall q k n c s = q := by
    unfold energyPerShare
    constructor
    · intro e
      have := Rat.div_mul_cancel (a := breakEvenRecall q k n c s) (show q ≠ 0 by grind)
      rw [e] at this; grind
    · intro e; rw [e, Rat.div_def, Rat.mul_inv_cancel]; grind
  rw [h1]
  have hc := h.c_nonneg
  have hq1 := h.q_le
  have hs0 := h.s_nonneg
  have a0 := frac_nonneg h
  have p1 := Rat.mul_nonneg (show 0 ≤ 1 - q by grind) a0
  have p2 := Rat.mul_nonneg (show 0 ≤ 1 - s by grind) p1
  have p3 := Rat.mul_nonneg (show 0 ≤ 1 - s by grind) hc
  have p4 := Rat.mul_nonneg hs0 (show 0 ≤ 1 - q by grind)
  have e : breakEvenRecall q k n c s - q
      = (1 - s) * ((1 - q) * (k / n)) + (1 - s) * c + s * (1 - q) := by
    unfold breakEvenRecall work; grind
  constructor
  · intro hb
    have z1 : (1 - s) * ((1 - q) * (k / n)) = 0 := by grind
    have z2 : (1 - s) * c = 0 := by grind
    have z3 : s * (1 - q) = 0 := by grind
    have hs1 : 1 - s ≠ 0 := by grind
    refine ⟨(Rat.mul_eq_zero.mp z2).resolve_left hs1, ?_⟩
    by_cases hq2 : q = 1
    · exact Or.inl hq2
    · have hq3 : 1 - q ≠ 0 := by grind
      have hk := (Rat.mul_eq_zero.mp ((Rat.mul_eq_zero.mp z1).resolve_left hs1)).resolve_left hq3
      have hn : n ≠ 0 := by have := h.n_pos; grind
      have := Rat.div_mul_cancel (a := k) hn
      rw [hk, Rat.zero_mul] at this
      exact Or.inr ⟨this.symm, (Rat.mul_eq_zero.mp z3).resolve_right hq3⟩
  · rintro ⟨hc0, hq2 | ⟨hk, hs2⟩⟩
    · rw [hc0, hq2] at e ⊢; grind
    · have hz : k / n = 0 := by rw [hk, Rat.div_def, Rat.zero_mul]
      rw [hc0, hz, hs2] at e
      rw [hc0, hs2]; grind

/-- A filter that saves keeps winners oftener than other candidates: saving needs information.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.energy_per_share`. -/
theorem saving_needs_information (h : Admissible q k n c s) (hr : 0 < r)
    (hE : energyPerShare q k n c r s < 1) : q < r := by
  have h1 := keep_le_breakEven h
  rw [saves_iff_breakEven_lt_recall hr] at hE
  grind

/-- With false aborts of rate `β` among the winners a filter saves exactly where β + c is below
(1 - q)(1 - k/n). Source: false positives, an open point of *Speaking to Silicon*, §19.
Python: `tpf.energy.energy_per_share`. -/
theorem saves_with_false_aborts_iff {β : Rat} (hβ : β < 1) :
    energyPerShare q k n c (1 - β) < 1 ↔ β + c < (1 - q) * (1 - k / n) := by
  rw [saves_iff (by grind)]
  constructor <;> intro h <;> grind

/-- The form with a static share: β is below (1 - s)((1 - q)(1 - k/n) - c).
Python: `tpf.energy.energy_per_share`. -/
theorem saves_with_false_aborts_static_iff {β : Rat} (hβ : β < 1) :
    energyPerShare q k n c (1 - β) s < 1 ↔ β < (1 - s) * ((1 - q) * (1 - k / n) - c) := by
  rw [saves_iff_breakEven_lt_recall (by grind)]
  unfold breakEvenRecall work
  constructor <;> intro h <;> grind

/-! ## The published saving -/

/-- All that the published theorem (`energySavings_theoreticalMax`) says: an identity of
arithmetic. Source: *Speaking to Silicon*, §5-8. Python: `tpf.energy.published_saving`. -/
theorem publishedSaving_eq (hn : 0 < n) : publishedSaving k n = (n - k) / n := by
  unfold publishedSaving
  rw [Rat.div_def, Rat.div_def, Rat.sub_eq_add_neg n, Rat.add_mul, Rat.mul_inv_cancel n (by grind)]
  grind

/-- No filter saves more than the published number, nor, with a static share, more than the part
of it that is not static. Source: *Speaking to Silicon*, §12.
Python: `tpf.energy.published_saving`. -/
theorem saving_le_publishedSaving (h : Admissible q k n c s) (hr : 0 < r) (hr1 : r ≤ 1) :
    saving q k n c r s ≤ (1 - s) * publishedSaving k n
      ∧ (1 - s) * publishedSaving k n ≤ publishedSaving k n := by
  have a0 := frac_nonneg h
  have a1 := frac_le_one h
  have hs0 := h.s_nonneg
  have hs1 := h.s_le
  have m1 := Rat.mul_le_mul_of_nonneg_left (frac_le_work h) (show 0 ≤ 1 - s by grind)
  have m2 := Rat.mul_nonneg (show 0 ≤ 1 - s by grind) a0
  have m3 := Rat.mul_nonneg hs0 (show 0 ≤ 1 - k / n by grind)
  have m4 := Rat.mul_le_mul_of_nonneg_left hr1 (show 0 ≤ (1 - s) * (k / n) + s by grind)
  have h1 : (1 - s) * (k / n) + s ≤ energyPerShare q k n c r s := by
    unfold energyPerShare
    rw [le_div_iff hr]
    unfold breakEvenRecall
    grind
  unfold saving publishedSaving
  constructor <;> grind

/-- Per candidate the published number is attained by one filter only: the one that keeps nothing
and costs nothing. Source: *Speaking to Silicon*, §12. Python: `tpf.energy.work`,
`published_saving`. -/
theorem work_saving_eq_published_iff (h : Admissible q k n c s) (hk : k < n) :
    1 - work q k n c = publishedSaving k n ↔ q = 0 ∧ c = 0 := by
  have ha : k / n < 1 := by rw [Rat.div_lt_iff h.n_pos]; grind
  have e := work_sub_frac q k n c
  have hc := h.c_nonneg
  have m := Rat.mul_nonneg h.q_nonneg (show 0 ≤ 1 - k / n by grind)
  unfold publishedSaving
  constructor
  · intro h1
    have z : q * (1 - k / n) = 0 := by grind
    exact ⟨(Rat.mul_eq_zero.mp z).resolve_right (by grind), by grind⟩
  · rintro ⟨h1, h2⟩; rw [h1, h2] at e ⊢; grind

/-- A filter that keeps nothing returns no share. `p` is the rate of winners; `r * p ≤ q` says that
a winner that is kept is a candidate that is kept (proved for filters on a joint distribution as
`FinDist.recall_mul_pWin_le_keepRate`). Source: *Speaking to Silicon*, §12 (weights all zero, every
cycle aborted, 92.19 %). Python: `tpf.energy.published_saving`. -/
theorem keeps_nothing_returns_nothing {p : Rat} (hp : 0 < p) (hr : 0 ≤ r) (h : r * p ≤ q)
    (hq : q = 0) : r = 0 := by
  have h1 := Rat.mul_nonneg hr (Rat.le_of_lt hp)
  have h2 : r * p = 0 := by grind
  exact (Rat.mul_eq_zero.mp h2).resolve_right (by grind)

/-- So a filter that returns any share saves strictly less than the published number.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.published_saving`. -/
theorem saving_lt_publishedSaving {p : Rat} (h : Admissible q k n c s) (hk : k < n) (hp : 0 < p)
    (hr : 0 < r) (hr1 : r ≤ 1) (hm : r * p ≤ q) : saving q k n c r s < publishedSaving k n := by
  have hq : 0 < q := by have := Rat.mul_pos hr hp; grind
  have ha : k / n < 1 := by rw [Rat.div_lt_iff h.n_pos]; grind
  have a0 := frac_nonneg h
  have hs0 := h.s_nonneg
  have hs1 := h.s_le
  have hq1 := h.q_le
  have hc := h.c_nonneg
  have e := work_sub_frac q k n c
  have m1 := Rat.mul_pos hq (show 0 < 1 - k / n by grind)
  have m2 := Rat.mul_le_mul_of_nonneg_right hq1 (show 0 ≤ 1 - k / n by grind)
  have h1 : k / n + q * (1 - k / n) ≤ breakEvenRecall q k n c s :=
    le_mix (by grind) (by grind) hs0 hs1
  have m3 := Rat.mul_le_mul_of_nonneg_left hr1 a0
  have h2 : k / n < energyPerShare q k n c r s := by
    unfold energyPerShare
    rw [Rat.lt_div_iff hr]
    grind
  unfold saving publishedSaving
  grind

/-! ## Examples -/

/-- A filter that keeps a quarter of the candidates and nine winners in ten, aborting after 122 of
128 rounds, as the frontier of SHA-256 allows. -/
theorem example_admissible : Admissible (1 / 4) 122 128 (1 / 1000) (1 / 10) :=
  ⟨⟨by decide +kernel, by decide +kernel, by decide +kernel, by decide +kernel, by decide +kernel,
    by decide +kernel⟩, by decide +kernel, by decide +kernel⟩

example : energyPerShare (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) = 310163 / 288000
    ∧ breakEvenRecall (1 / 4) 122 128 (1 / 1000) (1 / 10) = 310163 / 320000 := by decide +kernel
example : energyPerShare (1 / 4) 122 128 0 1 < 1 ∧ breakEvenKeepRate (9 / 10) 32 128 (1 / 1000) (1 / 10)
    = 5741 / 6750 := by decide +kernel
example : energyPerShare (1 / 4) 32 128 (1 / 1000) (9 / 10) (1 / 10) < 1 := by
  rw [saves_iff_keepRate_lt_breakEven] <;> decide +kernel
example : energyPerShare 1 5 128 0 1 (1 / 10) = 1 :=
  (no_information_energy_eq_one_iff ⟨⟨by decide +kernel, by decide +kernel, by decide +kernel,
    by decide +kernel, by decide +kernel, by decide +kernel⟩, by decide +kernel, by decide +kernel⟩
    (by decide +kernel) (by decide +kernel)).mpr ⟨rfl, Or.inl rfl⟩
example : (1 : Rat) / 100 < 1 / 20 :=
  saving_needs_information (k := 5) (n := 1024) (c := 0) (s := 0) ⟨⟨by decide +kernel,
    by decide +kernel, by decide +kernel, by decide +kernel, by decide +kernel, by decide +kernel⟩,
    by decide +kernel, by decide +kernel⟩ (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 4) 32 128 (1 / 100) (1 - 1 / 10) < 1 := by
  rw [saves_with_false_aborts_iff] <;> decide +kernel
example : energyPerShare (1 / 4) 32 128 (1 / 100) (1 - 1 / 10) (1 / 2) < 1 := by
  rw [saves_with_false_aborts_static_iff] <;> decide +kernel
example : equivalentHashrate (1 / 4) 32 128 0 1 = 16 / 7 ∧ 1 / (1 - publishedSaving 5 64) = 64 / 5 := by
  decide +kernel
example : saving (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) ≤ (1 - 1 / 10) * publishedSaving 122 128 :=
  (saving_le_publishedSaving example_admissible (by decide +kernel) (by decide +kernel)).1
example : 1 - work 0 5 64 0 = publishedSaving 5 64 := by decide +kernel
example : 1 ≤ energyPerShare (1 / 4) 122 128 (1 / 1000) (1 / 5) (1 / 10) :=
  no_information_no_saving example_admissible (by decide +kernel) (by decide +kernel)
example : publishedSaving 5 64 = 59 / 64 := by decide +kernel
example : publishedSaving 5 128 = 123 / 128 := by decide +kernel
example : saving (1 / 4) 122 128 (1 / 1000) (9 / 10) (1 / 10) < publishedSaving 122 128 :=
  saving_lt_publishedSaving (p := 1 / 10) example_admissible (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : energyPerShare (1 / 100) 5 128 0 1 < 1 := by rw [saves_iff] <;> decide +kernel
example : energyPerShare (1 / 100) 5 128 0 (1 / 20) = 623 / 640 := by decide +kernel

end Silicon
