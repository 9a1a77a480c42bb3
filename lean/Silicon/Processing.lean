import Silicon.Leakage

/-!
# Data processing: no computation on the observation creates leakage

A filter, a feature, a histogram or a neural network sees the timing and nothing else. Whatever it
computes, with or without chance, leaks at most what the timing leaks.
-/

noncomputable section

namespace Silicon.FinDist

variable {n m k : Nat}

/-! ## Randomised maps -/

/-- No randomised map of the observation has more total-variation leakage.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.tv_leak`. -/
theorem tvLeak_through_le (P : FinDist n m) (K : Kernel m k) : (P.through K).tvLeak ≤ P.tvLeak := by
  unfold tvLeak
  apply div_le_div_right (by decide +kernel)
  apply sum_le
  intro i
  calc sum k (fun l => rabs ((P.through K).dev i l))
      ≤ sum k (fun l => sum m (fun j => rabs (P.dev i j) * K.p j l)) := sum_le (fun l => by
        rw [dev_through, ← sum_congr (fun j => rabs_mul_nonneg (P.dev i j) (K.nonneg j l))]
        exact rabs_sum_le _)
    _ = sum m (fun j => rabs (P.dev i j)) := by
        rw [sum_comm]
        exact sum_congr (fun j => by rw [sum_mul_left, K.total, Rat.mul_one])

/-- No randomised map of the observation has more chi-square leakage.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.chi_square_leak`. -/
theorem chiSquareLeak_through_le (P : FinDist n m) (K : Kernel m k) :
    (P.through K).chiSquareLeak ≤ P.chiSquareLeak := by
  unfold chiSquareLeak
  apply sum_le
  intro i
  calc sum k (fun l => (P.through K).dev i l * (P.through K).dev i l
          / ((P.through K).margS i * (P.through K).margO l))
      ≤ sum k (fun l => sum m (fun j =>
          P.dev i j * P.dev i j / (P.margS i * P.margO j) * K.p j l)) := sum_le (fun l => by
        have h := sq_sum_div_le (fun j => P.dev i j * K.p j l)
          (fun j => P.margS i * P.margO j * K.p j l)
          (fun j => Rat.mul_nonneg
            (Rat.mul_nonneg (P.margS_nonneg i) (P.margO_nonneg j)) (K.nonneg j l))
          (fun j hj => by
            show P.dev i j * K.p j l = 0
            rcases Rat.mul_eq_zero.mp hj with h | h
            · rw [P.dev_eq_zero_of_marg i j h, Rat.zero_mul]
            · rw [h, Rat.mul_zero])
        have hm : P.margS i * sum m (fun j => P.margO j * K.p j l)
            = sum m (fun j => P.margS i * P.margO j * K.p j l) := by
          rw [← sum_mul_left]; exact sum_congr (fun j => (Rat.mul_assoc _ _ _).symm)
        rw [dev_through, margS_through, margO_through, hm]
        have e (j : Fin m) : P.dev i j * K.p j l * (P.dev i j * K.p j l)
            / (P.margS i * P.margO j * K.p j l)
            = P.dev i j * P.dev i j / (P.margS i * P.margO j) * K.p j l := by
          by_cases h0 : K.p j l = 0
          · rw [h0]; simp [Rat.div_def]
          · rw [Rat.div_def, Rat.div_def, Rat.inv_mul_rev]
            have := Rat.mul_inv_cancel _ h0
            grind
        rw [← sum_congr e]
        exact h)
    _ = sum m (fun j => P.dev i j * P.dev i j / (P.margS i * P.margO j)) := by
        rw [sum_comm]
        exact sum_congr (fun j => by rw [sum_mul_left, K.total, Rat.mul_one])

/-- No randomised map of the observation changes the best guess without it.
Python: `tpf.leakage.prior_vulnerability`. -/
theorem priorVulnerability_through (P : FinDist n m) (K : Kernel m k) :
    (P.through K).priorVulnerability = P.priorVulnerability := maxi_congr (P.margS_through K)

/-- No randomised map of the observation has more gain.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.vulnerability_gain`. -/
theorem vulnerabilityGain_through_le (P : FinDist n m) (K : Kernel m k) :
    (P.through K).vulnerabilityGain ≤ P.vulnerabilityGain := by
  have h : (P.through K).posteriorVulnerability ≤ P.posteriorVulnerability := calc
    sum k (fun l => maxi n (fun i => (P.through K).w i l))
      ≤ sum k (fun l => sum m (fun j => maxi n (fun i => P.w i j) * K.p j l)) :=
        sum_le (fun l => maxi_le
          (sum_nonneg (fun j => Rat.mul_nonneg (maxi_nonneg _) (K.nonneg j l)))
          (fun i => sum_le (fun j => Rat.mul_le_mul_of_nonneg_right
            (le_maxi (fun i => P.w i j) i) (K.nonneg j l))))
    _ = sum m (fun j => maxi n (fun i => P.w i j)) := by
        rw [sum_comm]
        exact sum_congr (fun j => by rw [sum_mul_left, K.total, Rat.mul_one])
  unfold vulnerabilityGain
  rw [priorVulnerability_through]
  grind

/-- A randomised map of an independent observation is independent.
Python: `tpf.leakage.tv_leak`. -/
theorem independent_through (P : FinDist n m) (K : Kernel m k) (h : P.Independent) :
    (P.through K).Independent := by
  rw [independent_iff_dev] at h ⊢
  intro i l
  rw [dev_through]
  exact sum_eq_zero (fun j => by rw [h i j, Rat.zero_mul])

/-! ## Functions -/

/-- No function of the observation has more total-variation leakage.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.tv_leak`. -/
theorem tvLeak_map_le (P : FinDist n m) (f : Fin m → Fin k) : (P.map f).tvLeak ≤ P.tvLeak :=
  P.map_eq_through f ▸ P.tvLeak_through_le _

/-- No function of the observation has more chi-square leakage.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.chi_square_leak`. -/
theorem chiSquareLeak_map_le (P : FinDist n m) (f : Fin m → Fin k) :
    (P.map f).chiSquareLeak ≤ P.chiSquareLeak :=
  P.map_eq_through f ▸ P.chiSquareLeak_through_le _

/-- No function of the observation has more gain.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.vulnerability_gain`. -/
theorem vulnerabilityGain_map_le (P : FinDist n m) (f : Fin m → Fin k) :
    (P.map f).vulnerabilityGain ≤ P.vulnerabilityGain :=
  P.map_eq_through f ▸ P.vulnerabilityGain_through_le _

/-! ## Two observations -/

/-- The distribution that keeps only the first of two observations. -/
def first (P : FinDist n (m * k)) : FinDist n m := P.map pairFst

/-- The distribution that keeps only the second of two observations. -/
def second (P : FinDist n (m * k)) : FinDist n k := P.map pairSnd

/-- Keeping the first observation sums the second one out. -/
theorem first_w (P : FinDist n (m * k)) (i : Fin n) (a : Fin m) :
    P.first.w i a = sum k (fun b => P.w i (mkPair a b)) := by
  show sum (m * k) (fun j => if pairFst j = a then P.w i j else 0) = _
  rw [sum_pair, ← sum_single a (fun a => sum k (fun b => P.w i (mkPair a b)))]
  exact sum_congr (fun a' => by
    simp only [pairFst_mkPair]
    split
    · rfl
    · exact sum_const_zero k)

/-- Keeping the second observation sums the first one out. -/
theorem second_w (P : FinDist n (m * k)) (i : Fin n) (b : Fin k) :
    P.second.w i b = sum m (fun a => P.w i (mkPair a b)) := by
  show sum (m * k) (fun j => if pairSnd j = b then P.w i j else 0) = _
  rw [sum_pair]
  exact sum_congr (fun a => by
    simp only [pairSnd_mkPair]
    exact sum_single b (fun b => P.w i (mkPair a b)))

/-- Two observations leak at least as much as either of them, by all three measures.
Source: *Speaking to Silicon*, §5-8 (leakage). Python: `tpf.leakage.tv_leak`, `chi_square_leak`,
`vulnerability_gain`. -/
theorem two_observations_leak_at_least_as_much (P : FinDist n (m * k)) :
    (P.first.tvLeak ≤ P.tvLeak ∧ P.first.chiSquareLeak ≤ P.chiSquareLeak
      ∧ P.first.vulnerabilityGain ≤ P.vulnerabilityGain)
    ∧ (P.second.tvLeak ≤ P.tvLeak ∧ P.second.chiSquareLeak ≤ P.chiSquareLeak
      ∧ P.second.vulnerabilityGain ≤ P.vulnerabilityGain) :=
  ⟨⟨P.tvLeak_map_le _, P.chiSquareLeak_map_le _, P.vulnerabilityGain_map_le _⟩,
    ⟨P.tvLeak_map_le _, P.chiSquareLeak_map_le _, P.vulnerabilityGain_map_le _⟩⟩

/-- They may leak much more: neither coin says anything about their exclusive or, both together
say it all. Testing one feature at a time misses this. Python: `tpf.leakage.tv_leak`. -/
theorem two_observations_may_leak_more :
    xorCoins.first.tvLeak = 0 ∧ xorCoins.second.tvLeak = 0 ∧ xorCoins.tvLeak = 1 / 2
      ∧ xorCoins.vulnerabilityGain = 1 / 2 := by decide +kernel

/-! ## Constant time -/

/-- An observation that always has the same value is independent of the secret.
Source: *Speaking to Silicon*, §5-8 (constant-time observation). Python: `tpf.leakage.tv_leak`. -/
theorem constant_observation_independent (P : FinDist n m) (c : Fin m)
    (h : ∀ i j, j ≠ c → P.w i j = 0) : P.Independent := by
  have hs (i : Fin n) : P.margS i = P.w i c := by
    rw [← sum_single c (fun j => P.w i j)]
    exact sum_congr (fun j => by
      split
      · rfl
      · rename_i hj; exact h i j hj)
  have ho : P.margO c = 1 := by
    rw [← P.sum_margS]; exact sum_congr (fun i => (hs i).symm)
  intro i j
  by_cases hj : j = c
  · rw [hj, ho, hs, Rat.mul_one]
  · have : P.margO j = 0 := sum_eq_zero (fun i => h i j hj)
    rw [this, h i j hj, Rat.mul_zero]

/-- A constant-time observation leaks nothing by any of the three measures.
Source: *Speaking to Silicon*, §5-8 (constant-time observation). Python: `tpf.leakage.tv_leak`,
`chi_square_leak`, `vulnerability_gain`. -/
theorem constant_observation_leaks_nothing (P : FinDist n m) (c : Fin m)
    (h : ∀ i j, j ≠ c → P.w i j = 0) :
    P.tvLeak = 0 ∧ P.chiSquareLeak = 0 ∧ P.vulnerabilityGain = 0 :=
  have hi := P.constant_observation_independent c h
  ⟨P.tvLeak_eq_zero_iff_independent.mpr hi, P.chiSquareLeak_eq_zero_iff_independent.mpr hi,
    P.independent_vulnerabilityGain_eq_zero hi⟩

/-- Padding every response to the same time removes all leakage.
Python: `tpf.leakage.tv_leak`. -/
theorem padding_removes_leakage (P : FinDist n m) (c : Fin k) :
    (P.map (fun _ => c)).tvLeak = 0 ∧ (P.map (fun _ => c)).chiSquareLeak = 0
      ∧ (P.map (fun _ => c)).vulnerabilityGain = 0 :=
  constant_observation_leaks_nothing _ c (fun _ _ hj =>
    sum_eq_zero (fun _ => if_neg (fun e => hj e.symm)))

/-- A map that forgets the observation one time in two. -/
def noisy : Kernel 2 2 where
  p := table2 (3 / 4) (1 / 4) (1 / 4) (3 / 4)
  nonneg := by decide +kernel
  total := by decide +kernel

example : (copy2.through noisy).tvLeak = 1 / 4 ∧ (copy2.through noisy).chiSquareLeak = 1 / 4
    ∧ (copy2.through noisy).vulnerabilityGain = 1 / 4 := by decide +kernel
example : (rareWins.map (fun _ : Fin 2 => (0 : Fin 2))).Independent :=
  constant_observation_independent _ 0 (by decide +kernel)
example : rareWins.tvLeak ≠ 0 ∧ (rareWins.map (fun _ => (1 : Fin 2))).tvLeak = 0 := by
  decide +kernel

end Silicon.FinDist
