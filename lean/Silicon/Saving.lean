import Silicon.Energy
import Silicon.Filter

/-!
# The saving of a filter is bounded by what the timing leaks

Keep rate and recall of a filter are fixed by the joint distribution of win and observation
(`Silicon.Filter`), and so is what it can save (`Silicon.Energy`). Here the two meet.
-/

noncomputable section

namespace Silicon

/-- The arithmetic of the bound: keep rate `q`, recall `r` at most `L` above it, abort after the
fraction `a` of a hash, energy `W` per candidate. -/
theorem saving_bound {q a r L W : Rat} (hq : 0 ≤ q) (ha : 0 ≤ a) (ha1 : a ≤ 1) (hr : 0 < r)
    (hr1 : r ≤ 1) (hL : 0 < L) (h : r - q ≤ L) (hW : q + (1 - q) * a ≤ W) :
    1 - W / r ≤ max (L * (1 - a)) (1 - a / L) := by
  have hz : a / L * L = a := Rat.div_mul_cancel (by grind)
  have hz0 : 0 ≤ a / L := div_nonneg ha (Rat.le_of_lt hL)
  generalize a / L = z at hz hz0 ⊢
  have p1 := Rat.mul_nonneg hq (show 0 ≤ 1 - a by grind)
  by_cases hrL : r ≤ L
  · have p2 := Rat.mul_le_mul_of_nonneg_left hrL hz0
    have h1 : z ≤ W / r := by rw [le_div_iff hr]; grind
    grind
  · have p2 := Rat.mul_le_mul_of_nonneg_right (show r - L ≤ q by grind) (show 0 ≤ 1 - a by grind)
    by_cases hD : L * (1 - a) ≤ a
    · have p3 := Rat.mul_nonneg (show 0 ≤ a - L * (1 - a) by grind) (show 0 ≤ 1 - r by grind)
      have h1 : 1 - L * (1 - a) ≤ W / r := by rw [le_div_iff hr]; grind
      grind
    · have hz1 : z ≤ 1 - a := by
        rcases Rat.le_total (a := z) (b := 1 - a) with h1 | h1
        · exact h1
        · have := Rat.mul_le_mul_of_nonneg_right h1 (Rat.le_of_lt hL)
          grind
      have p3 := Rat.mul_nonneg (show 0 ≤ r - L by grind) (show 0 ≤ 1 - a - z by grind)
      have h1 : z ≤ W / r := by rw [le_div_iff hr]; grind
      grind

namespace FinDist

variable {m : Nat} {k n c s : Rat}

/-! ## The saving of a filter -/

-- The keep rate of a filter on a machine is admissible in the energy account.
theorem admissible (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s) :
    Admissible (P.keepRate F) k n c s := ⟨h, P.keepRate_nonneg F, P.keepRate_le_one F⟩

/-- Mean energy per candidate: each observation is kept with the probability of the rule and costs a
full hash then, and the rounds before the abort otherwise; the filter's cost and the static power
come on top. -/
def expectedEnergy (P : FinDist 2 m) (F : KeepRule m) (k n c : Rat) (s : Rat := 0) : Rat :=
  sum m (fun j => P.margO j *
    ((1 - s) * (F.keep j + (1 - F.keep j) * (k / n) + c) + s))

/-- Probability that a candidate wins and is kept. -/
def expectedShares (P : FinDist 2 m) (F : KeepRule m) : Rat := sum m (fun j => P.w 1 j * F.keep j)

/-- The formula of the energy per share is the mean energy over the mean number of shares, relative to
`1 / pWin` full hashes per share without a filter. Source: *Speaking to Silicon*, §12, with keep rate
and false aborts (open points of §19). Python: `tpf.energy.energy_per_share`. -/
theorem energyPerShare_is_energy_over_shares (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin)
    (_hr : 0 < P.recall F) :
    P.expectedEnergy F k n c s / P.expectedShares F / (1 / P.pWin)
      = energyPerShare (P.keepRate F) k n c (P.recall F) s := by
  have h1 : P.expectedEnergy F k n c s = breakEvenRecall (P.keepRate F) k n c s := by
    have h2 : P.expectedEnergy F k n c s = sum m (fun j =>
        (1 - s) * (1 - k / n) * (P.margO j * F.keep j) + ((1 - s) * (k / n + c) + s) * P.margO j) :=
      sum_congr (fun j => by grind)
    rw [h2, sum_add, sum_mul_left, sum_mul_left, sum_margO]
    show (1 - s) * (1 - k / n) * P.keepRate F + _ = _
    unfold breakEvenRecall work
    grind
  have h3 : P.expectedShares F = P.recall F * P.pWin := (P.recall_mul_pWin F hp).symm
  unfold energyPerShare
  rw [h1, h3, Rat.div_def, Rat.div_def, Rat.div_def, Rat.div_def, Rat.inv_mul_rev, Rat.one_mul,
    Rat.inv_inv]
  have h4 := Rat.mul_inv_cancel P.pWin (by grind)
  generalize breakEvenRecall (P.keepRate F) k n c s = B
  generalize (P.recall F)⁻¹ = R
  grind

/-- Zero leakage, zero saving: where win and timing are independent, no filter of the timing, with
or without chance, lowers the energy per share, whatever its abort round, cost and static share.
Source: *Speaking to Silicon*, §5-8 and §12; the theorem that links the two.
Python: `tpf.leakage.tv_leak`, `tpf.energy.energy_per_share`. -/
theorem zero_leakage_no_saving (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hp : 0 < P.pWin) (hr : 0 < P.recall F) (h0 : P.tvLeak = 0) :
    1 ≤ energyPerShare (P.keepRate F) k n c (P.recall F) s := by
  have h1 := P.recall_sub_keepRate_le_advantage F hp
  rw [P.advantage_eq_zero h0] at h1
  exact no_information_no_saving (P.admissible F h) hr (by grind)

/-- The same from independence. Source: *Speaking to Silicon*, §5-8 and §12.
Python: `tpf.energy.energy_per_share`. -/
theorem independent_no_saving (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hp : 0 < P.pWin) (hr : 0 < P.recall F) (hi : P.Independent) :
    1 ≤ energyPerShare (P.keepRate F) k n c (P.recall F) s :=
  P.zero_leakage_no_saving F h hp hr (P.tvLeak_eq_zero_iff_independent.mpr hi)

/-- The saving times the recall is at most the leakage per winner.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.energy_per_share`, `tpf.leakage.tv_leak`. -/
theorem saving_mul_recall_le_advantage (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hp : 0 < P.pWin) (hr : 0 < P.recall F) :
    saving (P.keepRate F) k n c (P.recall F) s * P.recall F ≤ P.advantage := by
  have h1 := keep_le_breakEven (P.admissible F h)
  have h2 := P.recall_sub_keepRate_le_advantage F hp
  have h3 : energyPerShare (P.keepRate F) k n c (P.recall F) s * P.recall F = _ :=
    Rat.div_mul_cancel (show P.recall F ≠ 0 by grind)
  unfold saving
  grind

/-- The saving is at most the leakage per winner over the fraction of the hash that is done before
the abort, whatever the filter. Source: *Speaking to Silicon*, §12.
Python: `tpf.energy.energy_per_share`, `tpf.leakage.tv_leak`. -/
theorem saving_le_leakage (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hp : 0 < P.pWin) (hr : 0 < P.recall F) (hk : 0 < k) :
    saving (P.keepRate F) k n c (P.recall F) s ≤ P.advantage / (k / n) := by
  have ha : 0 < k / n := by rw [Rat.lt_div_iff h.n_pos]; grind
  have h1 := P.saving_mul_recall_le_advantage F h hp hr
  rw [le_div_iff ha]
  have hb := frac_le_breakEven (P.admissible F h)
  have h3 : energyPerShare (P.keepRate F) k n c (P.recall F) s * P.recall F = _ :=
    Rat.div_mul_cancel (show P.recall F ≠ 0 by grind)
  have h5 := P.advantage_nonneg
  generalize hS : saving (P.keepRate F) k n c (P.recall F) s = S at h1 ⊢
  have h4 : S * P.recall F = P.recall F - breakEvenRecall (P.keepRate F) k n c s := by
    rw [← hS]; unfold saving; grind
  rcases Rat.le_total (a := S) (b := 0) with hs | hs
  · have := Rat.mul_le_mul_of_nonneg_right hs (Rat.le_of_lt ha)
    grind
  · have h6 := Rat.mul_nonneg hs (Rat.le_of_lt hr)
    have := Rat.mul_le_mul_of_nonneg_left (show k / n ≤ P.recall F by grind) hs
    grind

/-- The sharper bound: with leakage per winner `L` and abort after the fraction `a` of the hash, the
saving is at most the larger of `L (1 - a)` and `1 - a / L`
(attained: `saving_le_max_attained`). Source: *Speaking to Silicon*, §12.
Python: `tpf.energy.energy_per_share`, `tpf.leakage.tv_leak`. -/
theorem saving_le_max (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s) (hp : 0 < P.pWin)
    (hr : 0 < P.recall F) (hL : 0 < P.advantage) :
    saving (P.keepRate F) k n c (P.recall F) s
      ≤ max (P.advantage * (1 - k / n)) (1 - (k / n) / P.advantage) := by
  have hA := P.admissible F h
  have a0 := frac_nonneg hA
  have a1 := frac_le_one hA
  have hq := P.keepRate_nonneg F
  have hq1 := P.keepRate_le_one F
  have hc := h.c_nonneg
  have m1 := Rat.mul_nonneg (show 0 ≤ 1 - P.keepRate F by grind) (show 0 ≤ 1 - k / n by grind)
  exact saving_bound hq a0 a1 hr (P.recall_le_one F hp) hL
    (P.recall_sub_keepRate_le_advantage F hp)
    (le_mix (by unfold work; grind) (by grind) h.s_nonneg h.s_le)

/-- A filter that saves needs this much leakage per winner: more than its break-even recall exceeds
its keep rate, that is (1 - q) k/n + c without static power.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.break_even_recall`, `tpf.leakage.tv_leak`. -/
theorem leakage_needed_to_save (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin)
    (hr : 0 < P.recall F) (hE : energyPerShare (P.keepRate F) k n c (P.recall F) s < 1) :
    breakEvenRecall (P.keepRate F) k n c s - P.keepRate F < P.advantage := by
  have h1 := P.recall_sub_keepRate_le_advantage F hp
  rw [saves_iff_breakEven_lt_recall hr] at hE
  grind

/-- The bound by the chi-square leakage: a filter that saves `S` at recall `r` where candidates win
with probability `p` shows a chi-square leakage of at least (4 p r S)².
Python: `tpf.energy.energy_per_share`, `tpf.leakage.chi_square_leak`. -/
theorem saving_sq_le_chiSquareLeak (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hp : 0 < P.pWin) (hr : 0 < P.recall F)
    (hS : 0 ≤ saving (P.keepRate F) k n c (P.recall F) s) :
    (4 * P.pWin * P.recall F * saving (P.keepRate F) k n c (P.recall F) s)
      * (4 * P.pWin * P.recall F * saving (P.keepRate F) k n c (P.recall F) s)
      ≤ P.chiSquareLeak := by
  have h1 := P.saving_mul_recall_le_advantage F h hp hr
  have h2 := P.four_tvLeak_sq_le_chiSquareLeak
  have h3 : P.advantage * (2 * P.pWin) = P.tvLeak := Rat.div_mul_cancel (by grind)
  have h4 := Rat.mul_le_mul_of_nonneg_right h1 (show 0 ≤ 2 * P.pWin by grind)
  have h5 := Rat.mul_nonneg (Rat.mul_nonneg hS (Rat.le_of_lt hr)) (show 0 ≤ 2 * P.pWin by grind)
  rw [h3] at h4
  generalize hx : saving (P.keepRate F) k n c (P.recall F) s * P.recall F * (2 * P.pWin) = x
    at h4 h5
  have e : 4 * P.pWin * P.recall F * saving (P.keepRate F) k n c (P.recall F) s = 2 * x := by
    rw [← hx]; grind
  rw [e]
  have h6 := Rat.mul_le_mul_of_nonneg_left h4 h5
  have h7 := Rat.mul_le_mul_of_nonneg_right h4 P.tvLeak_nonneg
  grind

/-- Independence is the same as no saving: where the observation depends on the win, some filter
saves if it aborts at once and costs nothing; where it does not, none does at any price.
Source: *Speaking to Silicon*, §5-8 and §12. Python: `tpf.energy.energy_per_share`. -/
theorem independent_iff_no_filter_saves (P : FinDist 2 m) (hp : 0 < P.pWin) :
    P.Independent ↔
      ∀ F, 0 < P.recall F → 1 ≤ energyPerShare (P.keepRate F) 0 1 0 (P.recall F) := by
  have hM : Machine 0 1 0 0 := ⟨by decide +kernel, by decide +kernel, by decide +kernel,
    by decide +kernel, by decide +kernel, by decide +kernel⟩
  constructor
  · intro h F hr
    exact P.independent_no_saving F hM hp hr h
  · intro h
    have h1 := P.bestRule_attains_advantage hp
    have h2 := P.keepRate_nonneg P.bestRule
    have h3 := P.advantage_nonneg
    by_cases h0 : P.advantage = 0
    · have h4 : P.advantage * (2 * P.pWin) = P.tvLeak := Rat.div_mul_cancel (by grind)
      rw [h0, Rat.zero_mul] at h4
      exact P.tvLeak_eq_zero_iff_independent.mp h4.symm
    · have hr : 0 < P.recall P.bestRule := by grind
      have h5 := h P.bestRule hr
      have h6 := (saves_iff (q := P.keepRate P.bestRule) (k := 0) (n := 1) (c := 0) hr)
      have h7 : (0 : Rat) / 1 = 0 := by decide +kernel
      rw [h7] at h6
      have h8 := h6.mpr (by grind)
      grind

/-! ## The published saving, for filters -/

/-- A filter that keeps nothing finds nothing. Source: *Speaking to Silicon*, §12.
Python: `tpf.energy.published_saving`. -/
theorem keepRate_zero_recall_zero (P : FinDist 2 m) (F : KeepRule m) (hp : 0 < P.pWin)
    (hq : P.keepRate F = 0) : P.recall F = 0 :=
  keeps_nothing_returns_nothing hp (P.recall_nonneg F) (P.recall_mul_pWin_le_keepRate F hp) hq

/-- Per candidate, only a filter that finds nothing attains the published saving.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.published_saving`. -/
theorem published_attained_only_without_shares (P : FinDist 2 m) (F : KeepRule m)
    (h : Machine k n c s) (hk : k < n) (hp : 0 < P.pWin)
    (he : 1 - work (P.keepRate F) k n c = publishedSaving k n) :
    P.keepRate F = 0 ∧ c = 0 ∧ P.recall F = 0 :=
  have h1 := (work_saving_eq_published_iff (P.admissible F h) hk).mp he
  ⟨h1.1, h1.2, P.keepRate_zero_recall_zero F hp h1.1⟩

/-- A filter that finds any share saves strictly less per share than was published.
Source: *Speaking to Silicon*, §12. Python: `tpf.energy.published_saving`. -/
theorem filter_saving_lt_published (P : FinDist 2 m) (F : KeepRule m) (h : Machine k n c s)
    (hk : k < n) (hp : 0 < P.pWin) (hr : 0 < P.recall F) :
    saving (P.keepRate F) k n c (P.recall F) s < publishedSaving k n :=
  saving_lt_publishedSaving (P.admissible F h) hk hp hr (P.recall_le_one F hp)
    (P.recall_mul_pWin_le_keepRate F hp)

/-! ## Examples -/

/-- Abort after 32 of 128 rounds at no cost and without static power. -/
theorem machine_32 : Machine 32 128 0 0 := ⟨by decide +kernel, by decide +kernel, by decide +kernel,
  by decide +kernel, by decide +kernel, by decide +kernel⟩

/-- The sharper bound is attained where the abort comes halfway, so it cannot be improved there.
Python: `tpf.energy.energy_per_share`. -/
theorem saving_le_max_attained :
    saving (copyQuarter.keepRate keepOne) 64 128 0 (copyQuarter.recall keepOne) = 3 / 8
      ∧ max (copyQuarter.advantage * (1 - 64 / 128)) (1 - 64 / 128 / copyQuarter.advantage)
        = 3 / 8 := by decide +kernel

/-- Zero gain does not rule out a saving: no predictor of `rareWins` beats the constant answer
"loses", and yet the filter that keeps the observation 1 returns every winner for 69/128 of the
energy. An accuracy at the baseline is therefore no proof that a filter cannot save; zero
total-variation leakage is. Python: `tpf.leakage.vulnerability_gain`, `tpf.energy.energy_per_share`. -/
theorem zero_gain_filter_may_save :
    rareWins.vulnerabilityGain = 0 ∧ rareWins.recall keepOne = 1
      ∧ energyPerShare (rareWins.keepRate keepOne) 10 128 0 (rareWins.recall keepOne) = 69 / 128 := by
  decide +kernel

example : 1 ≤ energyPerShare (coins.keepRate keepOne) 32 128 0 (coins.recall keepOne) :=
  coins.zero_leakage_no_saving keepOne machine_32 (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : saving (rareWins.keepRate keepOne) 32 128 0 (rareWins.recall keepOne) = 3 / 8 := by
  decide +kernel
example : saving (rareWins.keepRate keepOne) 32 128 0 (rareWins.recall keepOne)
    ≤ rareWins.advantage / (32 / 128) :=
  rareWins.saving_le_leakage keepOne machine_32 (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : saving (rareWins.keepRate keepOne) 32 128 0 (rareWins.recall keepOne)
    < publishedSaving 32 128 :=
  rareWins.filter_saving_lt_published keepOne machine_32 (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : rareWins.expectedEnergy keepOne 32 128 0 = 5 / 8 ∧ rareWins.expectedShares keepOne = 1 / 10 := by
  decide +kernel
example : rareWins.expectedEnergy keepOne 32 128 0 / rareWins.expectedShares keepOne
    / (1 / rareWins.pWin) = 5 / 8 := by
  rw [energyPerShare_is_energy_over_shares] <;> decide +kernel
example : 1 ≤ energyPerShare (coins.keepRate keepOne) 32 128 0 (coins.recall keepOne) :=
  coins.independent_no_saving keepOne machine_32 (by decide +kernel) (by decide +kernel)
    (by unfold Independent; decide +kernel)
example : saving (rareWins.keepRate keepOne) 32 128 0 (rareWins.recall keepOne)
    ≤ max (rareWins.advantage * (1 - 32 / 128)) (1 - 32 / 128 / rareWins.advantage) :=
  rareWins.saving_le_max keepOne machine_32 (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : (1 - 1 / 2) * (32 / 128) < rareWins.advantage := by
  have h := rareWins.leakage_needed_to_save (k := 32) (n := 128) (c := 0) (s := 0) keepOne
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
  rwa [show breakEvenRecall (rareWins.keepRate keepOne) 32 128 0 0 - rareWins.keepRate keepOne
    = (1 - 1 / 2) * (32 / 128) by decide +kernel] at h
example : (4 * (1 / 10) * 1 * (3 / 8)) * (4 * (1 / 10) * 1 * (3 / 8)) ≤ rareWins.chiSquareLeak := by
  have h := rareWins.saving_sq_le_chiSquareLeak (k := 32) (n := 128) (c := 0) (s := 0) keepOne
    machine_32 (by decide +kernel) (by decide +kernel) (by decide +kernel)
  rwa [show 4 * rareWins.pWin * rareWins.recall keepOne
    * saving (rareWins.keepRate keepOne) 32 128 0 (rareWins.recall keepOne) 0
    = 4 * (1 / 10) * 1 * (3 / 8) by decide +kernel] at h
example : copyQuarter.Independent ↔ ∀ F, 0 < copyQuarter.recall F →
    1 ≤ energyPerShare (copyQuarter.keepRate F) 0 1 0 (copyQuarter.recall F) :=
  copyQuarter.independent_iff_no_filter_saves (by decide +kernel)
example : rareWins.recall (KeepRule.ofSet (fun _ => false)) = 0 :=
  (rareWins.published_attained_only_without_shares _ machine_32 (by decide +kernel)
    (by decide +kernel) (by decide +kernel)).2.2

end FinDist

end Silicon
