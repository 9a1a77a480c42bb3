/-!
# The tail of a count: trials that may depend on what happened before

`s past` is the chance that the next trial succeeds after the outcomes `past` (newest first). Trials
need not be independent: `s` is any function of the past. `reach s n k past` is the probability of at
least `k` successes in `n` further trials, and `tail p n k` the same for independent trials of chance
`p`. `reach_eq_over` says that these recursions are the sum of the probabilities of all outcomes.
-/

noncomputable section

namespace Silicon

/-- Probability of at least `k` successes in `n` independent trials of chance `p`.
Python: `tpf.certificate.tail`. -/
def tail (p : Rat) : Nat → Nat → Rat
  | _, 0 => 1
  | 0, _ + 1 => 0
  | n + 1, k + 1 => p * tail p n k + (1 - p) * tail p n (k + 1)

/-- Probability of at least `k` successes in `n` further trials after the outcomes `past`. -/
def reach (s : List Bool → Rat) : Nat → Nat → List Bool → Rat
  | _, 0, _ => 1
  | 0, _ + 1, _ => 0
  | n + 1, k + 1, past =>
    s past * reach s n k (true :: past) + (1 - s past) * reach s n (k + 1) (false :: past)

/-- Given any past the next trial succeeds with probability at most `p`: the null hypothesis of a
certificate. Independence is not asked for. -/
structure NeverAbove (s : List Bool → Rat) (p : Rat) : Prop where
  nonneg : ∀ past, 0 ≤ s past
  le : ∀ past, s past ≤ p

/-- Probability that the outcomes `l`, oldest first, follow the outcomes `past`. -/
def outcomeProbability (s : List Bool → Rat) : List Bool → List Bool → Rat
  | [], _ => 1
  | b :: l, past => (if b then s past else 1 - s past) * outcomeProbability s l (b :: past)

/-- The sum of `f` over all lists of `n` outcomes. -/
def over : (n : Nat) → (List Bool → Rat) → Rat
  | 0, f => f []
  | n + 1, f => over n (fun l => f (true :: l)) + over n (fun l => f (false :: l))

/-- How many of the outcomes are successes. -/
def successes : List Bool → Nat
  | [] => 0
  | b :: l => (if b then 1 else 0) + successes l

theorem tail_zero (p : Rat) (n : Nat) : tail p n 0 = 1 := by cases n <;> rfl
theorem tail_none (p : Rat) (k : Nat) : tail p 0 (k + 1) = 0 := rfl
theorem tail_succ (p : Rat) (n k : Nat) :
    tail p (n + 1) (k + 1) = p * tail p n k + (1 - p) * tail p n (k + 1) := rfl
theorem reach_zero (s : List Bool → Rat) (n : Nat) (past : List Bool) : reach s n 0 past = 1 := by
  cases n <;> rfl
theorem reach_none (s : List Bool → Rat) (k : Nat) (past : List Bool) :
    reach s 0 (k + 1) past = 0 := rfl
theorem reach_succ (s : List Bool → Rat) (n k : Nat) (past : List Bool) :
    reach s (n + 1) (k + 1) past
      = s past * reach s n k (true :: past)
        + (1 - s past) * reach s n (k + 1) (false :: past) := rfl

/-! ## The recursions are sums over all outcomes -/

theorem over_congr {f g : List Bool → Rat} (n : Nat) (h : ∀ l, f l = g l) : over n f = over n g :=
  congrArg (over n) (funext h)

theorem over_mul_left (c : Rat) (n : Nat) (f : List Bool → Rat) :
    over n (fun l => c * f l) = c * over n f := by
  induction n generalizing f with
  | zero => rfl
  | succ n ih => simp only [over, ih, Rat.mul_add]

theorem over_le {f g : List Bool → Rat} (n : Nat) (h : ∀ l, f l ≤ g l) : over n f ≤ over n g := by
  induction n generalizing f g with
  | zero => exact h []
  | succ n ih =>
    have h1 := ih (fun l => h (true :: l))
    have h2 := ih (fun l => h (false :: l))
    simp only [over]
    grind

/-- The probabilities of all outcomes add up to one. -/
theorem over_outcomeProbability (s : List Bool → Rat) (n : Nat) (past : List Bool) :
    over n (fun l => outcomeProbability s l past) = 1 := by
  induction n generalizing past with
  | zero => rfl
  | succ n ih =>
    simp only [over, outcomeProbability, over_mul_left, ih]
    grind

/-- `reach` is the probability of its name: the sum of the probabilities of all outcomes with at least
`k` successes. Python: `tpf.certificate.tail`. -/
theorem reach_eq_over (s : List Bool → Rat) (n k : Nat) (past : List Bool) :
    reach s n k past
      = over n (fun l => if k ≤ successes l then outcomeProbability s l past else 0) := by
  induction n generalizing k past with
  | zero => cases k <;> simp [reach, over, successes, outcomeProbability]
  | succ n ih =>
    cases k with
    | zero =>
      simp only [Nat.zero_le, if_true]
      rw [over_outcomeProbability, reach_zero]
    | succ k =>
      have ht : ∀ l, (if k + 1 ≤ successes (true :: l) then outcomeProbability s (true :: l) past
          else 0) = s past * (if k ≤ successes l then outcomeProbability s l (true :: past)
            else 0) := by
        intro l
        have : (k + 1 ≤ successes (true :: l)) = (k ≤ successes l) := by
          simp only [successes, if_true]; apply propext; omega
        simp only [this, outcomeProbability, if_true]
        split
        · rfl
        · exact (Rat.mul_zero _).symm
      have hf : ∀ l, (if k + 1 ≤ successes (false :: l) then outcomeProbability s (false :: l) past
          else 0) = (1 - s past) * (if k + 1 ≤ successes l
            then outcomeProbability s l (false :: past) else 0) := by
        intro l
        have : (k + 1 ≤ successes (false :: l)) = (k + 1 ≤ successes l) := by
          simp [successes]
        simp only [this, outcomeProbability]
        split
        · simp
        · exact (Rat.mul_zero _).symm
      rw [reach_succ, ih, ih]
      show _ = over n _ + over n _
      rw [over_congr n ht, over_congr n hf, over_mul_left, over_mul_left]

/-- Where each trial has the same chance whatever happened, `reach` is the binomial tail.
Python: `tpf.certificate.tail`. -/
theorem reach_const (p : Rat) (n k : Nat) (past : List Bool) :
    reach (fun _ => p) n k past = tail p n k := by
  induction n generalizing k past with
  | zero => cases k <;> rfl
  | succ n ih =>
    cases k with
    | zero => rfl
    | succ k => rw [reach_succ, tail_succ, ih, ih]

/-! ## Bounds and monotonicity -/

theorem tail_bounds {p : Rat} (h0 : 0 ≤ p) (h1 : p ≤ 1) (n k : Nat) :
    0 ≤ tail p n k ∧ tail p n k ≤ 1 := by
  induction n generalizing k with
  | zero => cases k <;> simp only [tail] <;> decide +kernel
  | succ n ih =>
    cases k with
    | zero => simp only [tail]; decide +kernel
    | succ k =>
      have hq : 0 ≤ 1 - p := by grind
      have a := Rat.mul_nonneg h0 (ih k).1
      have b := Rat.mul_nonneg hq (ih (k + 1)).1
      have c := Rat.mul_le_mul_of_nonneg_left (ih k).2 h0
      have d := Rat.mul_le_mul_of_nonneg_left (ih (k + 1)).2 hq
      rw [tail_succ]
      constructor <;> grind

/-- More successes are less probable. Python: `tpf.certificate.tail`. -/
theorem tail_anti {p : Rat} (h0 : 0 ≤ p) (h1 : p ≤ 1) (n k : Nat) :
    tail p n (k + 1) ≤ tail p n k := by
  induction n generalizing k with
  | zero => cases k <;> simp only [tail] <;> decide +kernel
  | succ n ih =>
    cases k with
    | zero => rw [tail_zero]; exact (tail_bounds h0 h1 _ _).2
    | succ k =>
      have hq : 0 ≤ 1 - p := by grind
      have a := Rat.mul_le_mul_of_nonneg_left (ih k) h0
      have b := Rat.mul_le_mul_of_nonneg_left (ih (k + 1)) hq
      rw [tail_succ, tail_succ]
      grind

/-- The step on which the certificates rest: a success chance `c` that is at most `p` and two
continuations that are at most the tails give at most the next tail. -/
theorem step_le_tail {p c u v : Rat} {n k : Nat} (hc : 0 ≤ c) (hcp : c ≤ p) (h1 : p ≤ 1)
    (hu : u ≤ tail p n k) (hv : v ≤ tail p n (k + 1)) :
    c * u + (1 - c) * v ≤ tail p (n + 1) (k + 1) := by
  have a := Rat.mul_le_mul_of_nonneg_left hu hc
  have b := Rat.mul_le_mul_of_nonneg_left hv (show 0 ≤ 1 - c by grind)
  have d := tail_anti (Rat.le_trans hc hcp) h1 n k
  have e := Rat.mul_nonneg (show 0 ≤ p - c by grind)
    (show 0 ≤ tail p n k - tail p n (k + 1) by grind)
  rw [tail_succ]
  grind

/-- *The certificate.* If, given any past, the next trial succeeds with probability at most `p`, then
at least `k` successes of `n` are at most as probable as for independent trials of chance `p`.
Source: what *Speaking to Silicon*, §5-8 leaves out (finite data).
Python: `tpf.certificate.tail`, `bound`. -/
theorem reach_le_tail {s : List Bool → Rat} {p : Rat} (h : NeverAbove s p) (h1 : p ≤ 1) (n k : Nat)
    (past : List Bool) : reach s n k past ≤ tail p n k := by
  induction n generalizing k past with
  | zero => cases k <;> exact Rat.le_refl
  | succ n ih =>
    cases k with
    | zero => exact Rat.le_refl
    | succ k =>
      rw [reach_succ]
      exact step_le_tail (h.nonneg past) (h.le past) h1 (ih k _) (ih (k + 1) _)

/-- A higher chance makes a count more probable. Python: `tpf.certificate.tail`. -/
theorem tail_mono {p q : Rat} (h0 : 0 ≤ p) (h : p ≤ q) (h1 : q ≤ 1) (n k : Nat) :
    tail p n k ≤ tail q n k :=
  reach_const p n k [] ▸ reach_le_tail ⟨fun _ => h0, fun _ => h⟩ h1 n k []

/-! ## From a count to the true accuracy -/

/-- *A lower confidence bound covers.* Let `lower m` be a bound at which `m` or more of `n` has a
probability of at most `α`, wherever it is above zero. If the chance of each trial is never above `p`,
the bound computed from the count exceeds `p` with probability at most `α`. So with probability at
least `1 - α` the true accuracy is not below `lower` of the count.
Source: Clopper and Pearson's interval, one-sided. Python: `tpf.certificate.tail`. -/
theorem lower_bound_covers {s : List Bool → Rat} {p α : Rat} (h : NeverAbove s p) (h1 : p ≤ 1)
    (hα : 0 ≤ α) (n : Nat) (lower : Nat → Rat)
    (hl : ∀ m, 0 < lower m → lower m ≤ 1 ∧ tail (lower m) n m ≤ α) :
    over n (fun l => if p < lower (successes l) then outcomeProbability s l [] else 0) ≤ α := by
  have hp : 0 ≤ p := Rat.le_trans (h.nonneg []) (h.le [])
  have hnn : ∀ l past, 0 ≤ outcomeProbability s l past := by
    intro l
    induction l with
    | nil => intro past; exact (by decide +kernel : (0 : Rat) ≤ 1)
    | cons b l ih =>
      intro past
      have a := h.nonneg past
      have c := h.le past
      refine Rat.mul_nonneg ?_ (ih _)
      split <;> grind
  by_cases hex : ∃ m, p < lower m
  · have least : ∃ m, p < lower m ∧ ∀ j, p < lower j → m ≤ j := by
      obtain ⟨m, hm⟩ := hex
      induction m using Nat.strongRecOn with
      | ind m ih =>
        by_cases hj : ∃ j, j < m ∧ p < lower j
        · obtain ⟨j, hjm, hjl⟩ := hj
          exact ih j hjm hjl
        · exact ⟨m, hm, fun j hjl => Nat.le_of_not_lt (fun hlt => hj ⟨j, hlt, hjl⟩)⟩
    obtain ⟨m, hm, hmin⟩ := least
    have hpos : 0 < lower m := by grind
    have hm1 := hl m hpos
    have a : over n (fun l => if p < lower (successes l) then outcomeProbability s l [] else 0)
        ≤ reach s n m [] := by
      rw [reach_eq_over]
      refine over_le n (fun l => ?_)
      have hl0 := hnn l []
      by_cases c : p < lower (successes l)
      · rw [if_pos c, if_pos (hmin _ c)]; exact Rat.le_refl
      · rw [if_neg c]; split <;> grind
    have b := reach_le_tail h h1 n m []
    have c := tail_mono hp (Rat.le_of_lt hm) hm1.1 n m
    grind
  · have a : over n (fun l => if p < lower (successes l) then outcomeProbability s l [] else 0)
        ≤ over n (fun l => 0 * outcomeProbability s l []) := over_le n (fun l => by
      rw [if_neg (fun c => hex ⟨_, c⟩)]; grind)
    rw [over_mul_left] at a
    grind

/-! ## Integer numerators and a table, for evaluation -/

/-- The numerator of `tail (a / (a + b)) n k` over the denominator `(a + b) ^ n`. -/
def tailNumerator (a b : Nat) : Nat → Nat → Nat
  | n, 0 => (a + b) ^ n
  | 0, _ + 1 => 0
  | n + 1, k + 1 => a * tailNumerator a b n k + b * tailNumerator a b n (k + 1)

/-- The next row of the table without its first entry; `t` is the entry before the list. -/
def nextEntries (a b t : Nat) : List Nat → List Nat
  | [] => []
  | u :: l => (a * t + b * u) :: nextEntries a b u l

/-- The next row of the table. -/
def nextRow (a b : Nat) : List Nat → List Nat
  | [] => []
  | t :: l => ((a + b) * t) :: nextEntries a b t l

/-- `f k, f (k + 1), ...`, `l` of them. -/
def entries (f : Nat → Nat) : Nat → Nat → List Nat
  | _, 0 => []
  | k, l + 1 => f k :: entries f (k + 1) l

/-- The numerators for `k = 0 .. kmax` after `n` trials, each row from the one before. -/
def row (a b kmax : Nat) : Nat → List Nat
  | 0 => 1 :: List.replicate kmax 0
  | n + 1 => nextRow a b (row a b kmax n)

/-- The last number of a list; 0 where there is none. -/
def lastEntry : List Nat → Nat
  | [] => 0
  | [t] => t
  | _ :: u :: l => lastEntry (u :: l)

/-- The numerator of the tail, by the table. -/
def tailCount (a b n k : Nat) : Nat := lastEntry (row a b k n)

theorem tailNumerator_zero (a b n : Nat) : tailNumerator a b n 0 = (a + b) ^ n := by
  cases n <;> rfl

theorem nextEntries_eq (a b n : Nat) (k l : Nat) :
    nextEntries a b (tailNumerator a b n k) (entries (tailNumerator a b n) (k + 1) l)
      = entries (tailNumerator a b (n + 1)) (k + 1) l := by
  induction l generalizing k with
  | zero => rfl
  | succ l ih => simp only [entries, nextEntries, ih, tailNumerator]

theorem row_eq (a b kmax n : Nat) :
    row a b kmax n = entries (tailNumerator a b n) 0 (kmax + 1) := by
  induction n with
  | zero =>
    have : ∀ k l, entries (tailNumerator a b 0) (k + 1) l = List.replicate l 0 := by
      intro k l
      induction l generalizing k with
      | zero => rfl
      | succ l ih => simp only [entries, ih, List.replicate, tailNumerator]
    simp only [row, entries, this, tailNumerator_zero, Nat.pow_zero]
  | succ n ih =>
    rw [row, ih, entries, nextRow, nextEntries_eq, entries, tailNumerator_zero, tailNumerator_zero,
      Nat.pow_succ, Nat.mul_comm]

theorem lastEntry_entries (f : Nat → Nat) (k l : Nat) :
    lastEntry (entries f k (l + 1)) = f (k + l) := by
  induction l generalizing k with
  | zero => rfl
  | succ l ih =>
    have h := ih (k + 1)
    rw [show k + (l + 1) = k + 1 + l by omega, ← h]
    rfl

/-- The table holds the numerators. -/
theorem tailCount_eq (a b n k : Nat) : tailCount a b n k = tailNumerator a b n k := by
  rw [tailCount, row_eq, lastEntry_entries, Nat.zero_add]

/-- The integers are the tail over a common denominator. Python: `tpf.certificate.tail`. -/
theorem tailNumerator_eq {a b : Nat} (h : 0 < a + b) (n k : Nat) :
    (tailNumerator a b n k : Rat)
      = ((a + b : Nat) : Rat) ^ n * tail (a / ((a + b : Nat) : Rat)) n k := by
  have hd : ((a + b : Nat) : Rat) ≠ 0 := by
    intro e
    have := Rat.natCast_eq_zero_iff.mp e
    omega
  have ha : (a : Rat) / ((a + b : Nat) : Rat) * ((a + b : Nat) : Rat) = a := Rat.div_mul_cancel hd
  have hb : (1 - (a : Rat) / ((a + b : Nat) : Rat)) * ((a + b : Nat) : Rat) = b := by
    have : ((a + b : Nat) : Rat) = (a : Rat) + (b : Rat) := Rat.natCast_add a b
    grind
  generalize hp : (a : Rat) / ((a + b : Nat) : Rat) = p at ha hb ⊢
  generalize hD : ((a + b : Nat) : Rat) = D at ha hb ⊢
  induction n generalizing k with
  | zero =>
    cases k with
    | zero => simp [tailNumerator, tail]
    | succ k => simp [tailNumerator, tail]
  | succ n ih =>
    cases k with
    | zero => rw [tailNumerator_zero, tail_zero, Rat.natCast_pow, hD, Rat.mul_one]
    | succ k =>
      rw [tailNumerator, tail_succ, Rat.natCast_add, Rat.natCast_mul, Rat.natCast_mul, ih, ih,
        Rat.pow_succ, ← ha, ← hb]
      grind

/-! ## Examples -/

example : tail (1 / 2) 3 2 = 1 / 2 := by decide +kernel
example : tailCount 1 1 16 13 = 697 ∧ tailNumerator 1 1 8 6 = 37 := by decide +kernel
example : tail (1 / 2) 8 6 = 37 / 256 := by decide +kernel
/-- Chance that falls after each success: never above one half, and not independent. -/
example : reach (fun past => if successes past = 0 then 1 / 2 else 1 / 4) 2 2 []
    ≤ tail (1 / 2) 2 2 :=
  reach_le_tail ⟨fun _ => by split <;> decide +kernel, fun _ => by split <;> decide +kernel⟩
    (by decide +kernel) 2 2 []
example : reach (fun past => if successes past = 0 then 1 / 2 else 1 / 4) 2 2 [] = 1 / 8 := by
  decide +kernel
example : tail (1 / 3) 9 5 ≤ tail (1 / 2) 9 5 :=
  tail_mono (by decide +kernel) (by decide +kernel) (by decide +kernel) 9 5
example : (tailNumerator 1 2 4 3 : Rat) = ((1 + 2 : Nat) : Rat) ^ 4
    * tail ((1 : Nat) / ((1 + 2 : Nat) : Rat)) 4 3 := tailNumerator_eq (by decide) 4 3
/-- Ten of ten at an error probability of 1/20: the accuracy is at least 74 %, nine of ten: 60 %. -/
example (p : Rat) (h0 : 0 ≤ p) (h1 : p ≤ 1) :
    over 10 (fun l => if p < (if 10 ≤ successes l then 37 / 50 else
      if 9 ≤ successes l then 3 / 5 else 0) then outcomeProbability (fun _ => p) l [] else 0)
      ≤ 1 / 20 :=
  lower_bound_covers (lower := fun m => if 10 ≤ m then 37 / 50 else if 9 ≤ m then 3 / 5 else 0)
    ⟨fun _ => h0, fun _ => Rat.le_refl⟩ h1 (by decide +kernel) 10 (by
      intro m hm
      by_cases h10 : 10 ≤ m
      · have a : tail (37 / 50) 10 10 ≤ 1 / 20 := by decide +kernel
        have b : ∀ j, tail (37 / 50) 10 (10 + j) ≤ tail (37 / 50) 10 10 := by
          intro j
          induction j with
          | zero => exact Rat.le_refl
          | succ j ih => exact Rat.le_trans (tail_anti (by decide +kernel) (by decide +kernel) _ _) ih
        have c := b (m - 10)
        rw [Nat.add_sub_cancel' h10] at c
        simp only [if_pos h10]
        exact ⟨by decide +kernel, Rat.le_trans c a⟩
      · by_cases h9 : 9 ≤ m
        · have : m = 9 := by omega
          subst this
          exact ⟨by decide +kernel, by decide +kernel⟩
        · simp only [if_neg h10, if_neg h9] at hm
          exact absurd hm (by decide +kernel))

end Silicon
