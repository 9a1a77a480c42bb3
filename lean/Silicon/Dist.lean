import Silicon.Sum

/-!
# Joint distributions of a secret and an observation

`P.w i j` is the probability that the secret is `i` (for a filter: the work loses, 0, or wins, 1)
and that the observation is `j` (for example the bin of a response time). All weights are rational,
so each example is evaluated by the kernel.
-/

noncomputable section

namespace Silicon

/-- A joint distribution of a secret with `n` values and an observation with `m` values. -/
structure FinDist (n m : Nat) where
  /-- Probability of secret `i` together with observation `j`. -/
  w : Fin n → Fin m → Rat
  nonneg : ∀ i j, 0 ≤ w i j
  total : sum n (fun i => sum m (fun j => w i j)) = 1

/-- A randomised map from `m` observations to `k` values: each row is a distribution. -/
structure Kernel (m k : Nat) where
  /-- Probability of the value `l` where `j` was observed. -/
  p : Fin m → Fin k → Rat
  nonneg : ∀ j l, 0 ≤ p j l
  total : ∀ j, sum k (p j) = 1

/-- A function of the observation, as a randomised map that uses no chance. -/
def Kernel.ofFun {m k : Nat} (f : Fin m → Fin k) : Kernel m k where
  p j l := if f j = l then 1 else 0
  nonneg j l := by split <;> decide +kernel
  total j := sum_single' (f j) (fun _ => 1)

namespace FinDist

variable {n m k : Nat}

-- Two distributions with the same weights are the same.
theorem ext {P Q : FinDist n m} (h : ∀ i j, P.w i j = Q.w i j) : P = Q := by
  cases P with
  | mk w a b =>
    cases Q with
    | mk w' a' b' =>
      have e : w = w' := funext (fun i => funext (h i))
      subst e
      rfl

/-- Probability of the secret `i`. -/
def margS (P : FinDist n m) (i : Fin n) : Rat := sum m (fun j => P.w i j)

/-- Probability of the observation `j`. -/
def margO (P : FinDist n m) (j : Fin m) : Rat := sum n (fun i => P.w i j)

/-- The observation says nothing about the secret: each joint probability is the product of the
marginal ones. -/
def Independent (P : FinDist n m) : Prop := ∀ i j, P.w i j = P.margS i * P.margO j

/-- How far the joint probability is from the product of the marginal ones. -/
def dev (P : FinDist n m) (i : Fin n) (j : Fin m) : Rat := P.w i j - P.margS i * P.margO j

-- The probability of a secret is not negative.
theorem margS_nonneg (P : FinDist n m) (i : Fin n) : 0 ≤ P.margS i := sum_nonneg (P.nonneg i)

-- The probability of an observation is not negative.
theorem margO_nonneg (P : FinDist n m) (j : Fin m) : 0 ≤ P.margO j :=
  sum_nonneg (fun i => P.nonneg i j)

-- The probabilities of the secrets sum to one.
theorem sum_margS (P : FinDist n m) : sum n P.margS = 1 := P.total

-- The probabilities of the observations sum to one.
theorem sum_margO (P : FinDist n m) : sum m P.margO = 1 := by
  rw [← P.total, sum_comm]; rfl

-- A joint probability is at most that of its secret.
theorem w_le_margS (P : FinDist n m) (i : Fin n) (j : Fin m) : P.w i j ≤ P.margS i :=
  term_le_sum (P.nonneg i) j

-- A joint probability is at most that of its observation.
theorem w_le_margO (P : FinDist n m) (i : Fin n) (j : Fin m) : P.w i j ≤ P.margO j :=
  term_le_sum (fun i => P.nonneg i j) i

-- The probability of a secret is at most one.
theorem margS_le_one (P : FinDist n m) (i : Fin n) : P.margS i ≤ 1 :=
  P.sum_margS ▸ term_le_sum P.margS_nonneg i

-- Independence says that no cell deviates.
theorem independent_iff_dev (P : FinDist n m) : P.Independent ↔ ∀ i j, P.dev i j = 0 := by
  unfold Independent dev
  constructor
  · intro h i j; rw [h i j]; grind
  · intro h i j; have := h i j; grind

-- The deviations of a secret sum to zero.
theorem sum_dev_row (P : FinDist n m) (i : Fin n) : sum m (fun j => P.dev i j) = 0 := by
  unfold dev
  rw [sum_sub, sum_mul_left, sum_margO]
  show P.margS i - _ = 0
  grind

-- The deviations of an observation sum to zero.
theorem sum_dev_col (P : FinDist n m) (j : Fin m) : sum n (fun i => P.dev i j) = 0 := by
  unfold dev
  rw [sum_sub, sum_mul_right, sum_margS]
  show P.margO j - _ = 0
  grind

/-- Where a marginal probability is zero, so is the joint one: no cell deviates. -/
theorem dev_eq_zero_of_marg (P : FinDist n m) (i : Fin n) (j : Fin m)
    (h : P.margS i * P.margO j = 0) : P.dev i j = 0 := by
  have h0 := P.nonneg i j
  have h1 := P.w_le_margS i j
  have h2 := P.w_le_margO i j
  unfold dev
  rw [h]
  rcases Rat.mul_eq_zero.mp h with h | h <;> grind

/-! ## What becomes of a distribution when the observation is processed -/

/-- The joint distribution of the secret and a randomised map of the observation. -/
def through (P : FinDist n m) (K : Kernel m k) : FinDist n k where
  w i l := sum m (fun j => P.w i j * K.p j l)
  nonneg i l := sum_nonneg (fun j => Rat.mul_nonneg (P.nonneg i j) (K.nonneg j l))
  total := by
    rw [← P.total]
    exact sum_congr (fun i => by
      rw [sum_comm]
      exact sum_congr (fun j => by rw [sum_mul_left, K.total, Rat.mul_one]))

/-- The joint distribution of the secret and a function of the observation. -/
def map (P : FinDist n m) (f : Fin m → Fin k) : FinDist n k where
  w i l := sum m (fun j => if f j = l then P.w i j else 0)
  nonneg i l := sum_nonneg (fun j => by have := P.nonneg i j; split <;> grind)
  total := by
    rw [← P.total]
    exact sum_congr (fun i => by
      rw [sum_comm]
      exact sum_congr (fun j => sum_single' (f j) (fun _ => P.w i j)))

/-- A function is a randomised map that uses no chance. -/
theorem map_eq_through (P : FinDist n m) (f : Fin m → Fin k) :
    P.map f = P.through (Kernel.ofFun f) :=
  ext (fun i l => sum_congr (fun j => by
    show (if f j = l then P.w i j else 0) = P.w i j * (if f j = l then 1 else 0)
    split <;> grind))

-- Processing the observation leaves the secret as it is.
theorem margS_through (P : FinDist n m) (K : Kernel m k) (i : Fin n) :
    (P.through K).margS i = P.margS i := by
  show sum k (fun l => sum m (fun j => P.w i j * K.p j l)) = sum m (fun j => P.w i j)
  rw [sum_comm]
  exact sum_congr (fun j => by rw [sum_mul_left, K.total, Rat.mul_one])

-- The probability of a processed observation.
theorem margO_through (P : FinDist n m) (K : Kernel m k) (l : Fin k) :
    (P.through K).margO l = sum m (fun j => P.margO j * K.p j l) := by
  show sum n (fun i => sum m (fun j => P.w i j * K.p j l)) = _
  rw [sum_comm]
  exact sum_congr (fun j => sum_mul_right _ _)

-- The deviation of a processed observation.
theorem dev_through (P : FinDist n m) (K : Kernel m k) (i : Fin n) (l : Fin k) :
    (P.through K).dev i l = sum m (fun j => P.dev i j * K.p j l) := by
  show (P.through K).w i l - (P.through K).margS i * (P.through K).margO l = _
  rw [margS_through, margO_through, ← sum_mul_left]
  show sum m (fun j => P.w i j * K.p j l) - _ = _
  rw [← sum_sub]
  exact sum_congr (fun j => by unfold dev; grind)

/-! ## Two observations at once, coded as one -/

/-- The first of two observations coded as one number. -/
def pairFst (j : Fin (m * k)) : Fin m :=
  ⟨j.val / k, Nat.div_lt_of_lt_mul (Nat.lt_of_lt_of_eq j.isLt (Nat.mul_comm m k))⟩

/-- The second of two observations coded as one number. -/
def pairSnd (j : Fin (m * k)) : Fin k :=
  ⟨j.val % k, Nat.mod_lt _ (Nat.pos_of_mul_pos_left (Nat.lt_of_le_of_lt (Nat.zero_le _) j.isLt))⟩

/-- Two observations coded as one number. -/
def mkPair (a : Fin m) (b : Fin k) : Fin (m * k) :=
  ⟨a.val * k + b.val, calc
    a.val * k + b.val < a.val * k + k := Nat.add_lt_add_left b.isLt _
    _ = (a.val + 1) * k := (Nat.succ_mul _ _).symm
    _ ≤ m * k := Nat.mul_le_mul_right k a.isLt⟩

-- The first of a pair is its first.
theorem pairFst_mkPair (a : Fin m) (b : Fin k) : pairFst (mkPair a b) = a :=
  Fin.ext (show (a.val * k + b.val) / k = a.val by
    rw [Nat.mul_comm, Nat.mul_add_div (Nat.lt_of_le_of_lt (Nat.zero_le _) b.isLt),
      Nat.div_eq_of_lt b.isLt, Nat.add_zero])

-- The second of a pair is its second.
theorem pairSnd_mkPair (a : Fin m) (b : Fin k) : pairSnd (mkPair a b) = b :=
  Fin.ext (show (a.val * k + b.val) % k = b.val by
    rw [Nat.mul_comm, Nat.mul_add_mod, Nat.mod_eq_of_lt b.isLt])

-- Each coded pair is the pair of its parts.
theorem mkPair_pairFst_pairSnd (j : Fin (m * k)) : mkPair (pairFst j) (pairSnd j) = j :=
  Fin.ext (show j.val / k * k + j.val % k = j.val by rw [Nat.mul_comm]; exact Nat.div_add_mod _ _)

/-- A sum over two observations coded as one is the double sum. -/
theorem sum_pair (F : Fin (m * k) → Rat) :
    sum (m * k) F = sum m (fun a => sum k (fun b => F (mkPair a b))) := by
  have h1 (a : Fin m) (b : Fin k) :
      sum (m * k) (fun j => if mkPair a b = j then F j else 0) = F (mkPair a b) := sum_single' _ F
  have h2 (j : Fin (m * k)) :
      sum m (fun a => sum k (fun b => if mkPair a b = j then F j else 0)) = F j := by
    have e (a : Fin m) : sum k (fun b => if mkPair a b = j then F j else 0)
        = if a = pairFst j then sum k (fun b => if b = pairSnd j then F j else 0) else 0 := by
      by_cases ha : a = pairFst j
      · rw [if_pos ha]
        apply sum_congr
        intro b
        by_cases hb : b = pairSnd j
        · rw [if_pos hb, if_pos (by rw [ha, hb, mkPair_pairFst_pairSnd])]
        · rw [if_neg hb, if_neg (fun h => hb (by rw [← h, pairSnd_mkPair]))]
      · rw [if_neg ha]
        exact sum_eq_zero (fun b => if_neg (fun h => ha (by rw [← h, pairFst_mkPair])))
    rw [sum_congr e, sum_single (pairFst j) (fun _ => sum k _), sum_single (pairSnd j) (fun _ => F j)]
  calc sum (m * k) F
      = sum (m * k) (fun j => sum m (fun a => sum k (fun b =>
          if mkPair a b = j then F j else 0))) := sum_congr (fun j => (h2 j).symm)
    _ = sum m (fun a => sum k (fun b => sum (m * k) (fun j =>
          if mkPair a b = j then F j else 0))) := by
        rw [sum_comm]; exact sum_congr (fun a => sum_comm _)
    _ = _ := sum_congr (fun a => sum_congr (fun b => h1 a b))

end FinDist

/-! ## Tables of numbers as distributions -/

/-- The table with rows `a b` and `c d`. -/
def table2 (a b c d : Rat) : Fin 2 → Fin 2 → Rat := fun i j =>
  if i = 0 then (if j = 0 then a else b) else (if j = 0 then c else d)

/-- The distribution of the counts of a contingency table: row `i` is the secret, column `j` the
observation. Python: `tpf.leakage.table_of_counts`. -/
def FinDist.tableOfCounts {n m : Nat} (c : Fin n → Fin m → Nat)
    (h : 0 < sum n (fun i => sum m (fun j => (c i j : Rat)))) : FinDist n m where
  w i j := c i j / sum n (fun i => sum m (fun j => (c i j : Rat)))
  nonneg i j := div_nonneg (Rat.natCast_nonneg) (Rat.le_of_lt h)
  total := by
    rw [sum_congr (fun i => sum_div _ _), sum_div, Rat.div_def, Rat.mul_inv_cancel]
    grind

/-- The observation is the secret itself: a fair coin and a copy of it. -/
def copy2 : FinDist 2 2 where
  w := table2 (1 / 2) 0 0 (1 / 2)
  nonneg := by decide +kernel
  total := by decide +kernel

/-- Two fair coins that know nothing of each other. -/
def coins : FinDist 2 2 where
  w := table2 (1 / 4) (1 / 4) (1 / 4) (1 / 4)
  nonneg := by decide +kernel
  total := by decide +kernel

/-- Rare wins that show only as the observation 1: work that shows 0 never wins, work that shows 1
wins once in five. -/
def rareWins : FinDist 2 2 where
  w := table2 (1 / 2) (2 / 5) 0 (1 / 10)
  nonneg := by decide +kernel
  total := by decide +kernel

/-- The secret is the exclusive or of two fair coins, both observed. -/
def xorCoins : FinDist 2 (2 * 2) where
  w i j := if i.val = (j.val / 2 + j.val % 2) % 2 then 1 / 4 else 0
  nonneg := by decide +kernel
  total := by decide +kernel

example : rareWins.margS 1 = 1 / 10 ∧ rareWins.margO 1 = 1 / 2 := by decide +kernel
example : rareWins.dev 1 1 = 1 / 20 := by decide +kernel
example : coins.Independent := by unfold FinDist.Independent; decide +kernel
example : ¬ rareWins.Independent := by unfold FinDist.Independent; decide +kernel
example : (rareWins.map (fun _ : Fin 2 => (0 : Fin 1))).w 1 0 = 1 / 10 := by decide +kernel
example : (FinDist.tableOfCounts (fun i j => if i = j then 3 else 1 : Fin 2 → Fin 2 → Nat)
    (by decide +kernel)).w 0 0 = 3 / 8 := by decide +kernel

end Silicon
