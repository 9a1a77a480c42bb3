import Silicon.Sum

/-!
# Readouts: what a fit on the training rows shows, and what it does not

`X t j` is column `j` of row `t`, `y t` the target, `w j` the weight of column `j`. The penalty is
given for each column, so that an intercept is a column of ones without penalty.
-/

noncomputable section

namespace Silicon.Readout

variable {N d a b : Nat}

/-- What a linear readout answers in row `t`. Python: `reservoir.readouts.RidgeReadout.predict`. -/
def predict (X : Fin N → Fin d → Rat) (w : Fin d → Rat) (t : Fin N) : Rat :=
  sum d (fun j => X t j * w j)

/-- The sum of squared errors of the answers `p`. -/
def squaredError (p y : Fin N → Rat) : Rat := sum N (fun t => (y t - p t) * (y t - p t))

/-- The cost of ridge regression: squared errors and penalised squared weights.
Python: `reservoir.readouts.RidgeReadout`. -/
def ridgeCost (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w : Fin d → Rat) : Rat :=
  squaredError (predict X w) y + sum d (fun j => pen j * (w j * w j))

/-- The normal equations of ridge regression: `Xᵀ (y - X w) = diag(pen) w`.
Python: `reservoir.readouts.RidgeReadout`. -/
def NormalEquations (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w : Fin d → Rat) : Prop :=
  ∀ j, sum N (fun t => X t j * (y t - predict X w t)) = pen j * w j

/-- How far the weights `w` are from the normal equation of column `j`. -/
def defect (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w : Fin d → Rat) (j : Fin d) : Rat :=
  sum N (fun t => X t j * (y t - predict X w t)) - pen j * w j

/-- The second-order part of the cost. -/
def curvature (X : Fin N → Fin d → Rat) (pen h : Fin d → Rat) : Rat :=
  sum N (fun t => predict X h t * predict X h t) + sum d (fun j => pen j * (h j * h j))

-- The answer of a sum of weights is the sum of the answers.
theorem predict_add (X : Fin N → Fin d → Rat) (w h : Fin d → Rat) (t : Fin N) :
    predict X (fun j => w j + h j) t = predict X w t + predict X h t := by
  unfold predict
  rw [← sum_add]
  exact sum_congr (fun j => Rat.mul_add _ _ _)

-- The answer of scaled weights is the scaled answer.
theorem predict_smul (X : Fin N → Fin d → Rat) (c : Rat) (h : Fin d → Rat) (t : Fin N) :
    predict X (fun j => c * h j) t = c * predict X h t := by
  unfold predict
  rw [← sum_mul_left]
  exact sum_congr (fun j => by grind)

-- The second-order part of scaled weights.
theorem curvature_smul (X : Fin N → Fin d → Rat) (pen : Fin d → Rat) (c : Rat) (h : Fin d → Rat) :
    curvature X pen (fun j => c * h j) = c * c * curvature X pen h := by
  unfold curvature
  rw [Rat.mul_add, ← sum_mul_left, ← sum_mul_left]
  congr 1
  · exact sum_congr (fun t => by rw [predict_smul]; grind)
  · exact sum_congr (fun j => by grind)

-- The second-order part is not negative.
theorem curvature_nonneg (X : Fin N → Fin d → Rat) {pen : Fin d → Rat} (hpen : ∀ j, 0 ≤ pen j)
    (h : Fin d → Rat) : 0 ≤ curvature X pen h := by
  have h1 : 0 ≤ sum N (fun t => predict X h t * predict X h t) :=
    sum_nonneg (fun t => mul_self_nonneg _)
  have h2 : 0 ≤ sum d (fun j => pen j * (h j * h j)) :=
    sum_nonneg (fun j => Rat.mul_nonneg (hpen j) (mul_self_nonneg _))
  unfold curvature
  grind

/-- Completing the square: the cost of weights moved by `h`.
Python: `reservoir.readouts.RidgeReadout`. -/
theorem ridgeCost_add (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w h : Fin d → Rat) :
    ridgeCost X y pen (fun j => w j + h j)
      = ridgeCost X y pen w - 2 * sum d (fun j => h j * defect X y pen w j)
        + curvature X pen h := by
  have e1 : sum N (fun t => (y t - predict X w t) * predict X h t)
      = sum d (fun j => h j * sum N (fun t => X t j * (y t - predict X w t))) := by
    show sum N (fun t => (y t - predict X w t) * sum d (fun j => X t j * h j)) = _
    rw [sum_congr (fun t => (sum_mul_left _ _).symm), sum_comm]
    exact sum_congr (fun j => by
      rw [← sum_mul_left]
      exact sum_congr (fun t => by grind))
  have e2 : squaredError (predict X (fun j => w j + h j)) y
      = squaredError (predict X w) y - 2 * sum N (fun t => (y t - predict X w t) * predict X h t)
        + sum N (fun t => predict X h t * predict X h t) := by
    unfold squaredError
    rw [← sum_mul_left, ← sum_sub, ← sum_add]
    exact sum_congr (fun t => by rw [predict_add]; grind)
  have e3 : sum d (fun j => pen j * ((w j + h j) * (w j + h j)))
      = sum d (fun j => pen j * (w j * w j)) + 2 * sum d (fun j => h j * (pen j * w j))
        + sum d (fun j => pen j * (h j * h j)) := by
    rw [← sum_mul_left, ← sum_add, ← sum_add]
    exact sum_congr (fun j => by grind)
  have e4 : sum d (fun j => h j * defect X y pen w j)
      = sum d (fun j => h j * sum N (fun t => X t j * (y t - predict X w t)))
        - sum d (fun j => h j * (pen j * w j)) := by
    rw [← sum_sub]
    exact sum_congr (fun j => by unfold defect; grind)
  unfold ridgeCost curvature
  rw [e2, e3, e4, e1]
  grind

-- The normal equations say that each defect is zero.
theorem normalEquations_iff_defect (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w : Fin d → Rat) :
    NormalEquations X y pen w ↔ ∀ j, defect X y pen w j = 0 := by
  unfold NormalEquations defect
  exact forall_congr' (fun j => by constructor <;> intro h <;> grind)

/-- At a solution of the normal equations any other weights cost more by the squared difference of
the answers and the penalised squared difference of the weights.
Python: `reservoir.readouts.RidgeReadout`. -/
theorem ridgeCost_at_solution (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (pen w : Fin d → Rat)
    (hw : NormalEquations X y pen w) (v : Fin d → Rat) :
    ridgeCost X y pen v = ridgeCost X y pen w + curvature X pen (fun j => v j - w j) := by
  have h1 := ridgeCost_add X y pen w (fun j => v j - w j)
  have hd := (normalEquations_iff_defect X y pen w).mp hw
  rw [sum_eq_zero (fun j => by rw [hd j, Rat.mul_zero]),
    show (fun j => w j + (v j - w j)) = v from funext (fun j => by grind)] at h1
  grind

/-- The normal equations give the minimiser of ridge's cost, and only they do.
Python: `reservoir.readouts.RidgeReadout`. -/
theorem minimises_iff_normalEquations (X : Fin N → Fin d → Rat) (y : Fin N → Rat)
    {pen : Fin d → Rat} (hpen : ∀ j, 0 ≤ pen j) (w : Fin d → Rat) :
    (∀ v, ridgeCost X y pen w ≤ ridgeCost X y pen v) ↔ NormalEquations X y pen w := by
  constructor
  · intro hmin
    rw [normalEquations_iff_defect]
    have hG : 0 ≤ sum d (fun j => defect X y pen w j * defect X y pen w j) :=
      sum_nonneg (fun j => mul_self_nonneg _)
    have hC := curvature_nonneg X hpen (defect X y pen w)
    have hz : sum d (fun j => defect X y pen w j * defect X y pen w j) = 0 := by
      have hu : ∀ u, 2 * u * sum d (fun j => defect X y pen w j * defect X y pen w j)
          ≤ u * u * curvature X pen (defect X y pen w) := by
        intro u
        have h1 := hmin (fun j => w j + u * defect X y pen w j)
        rw [ridgeCost_add X y pen w (fun j => u * defect X y pen w j), curvature_smul,
          sum_congr (fun j => Rat.mul_assoc u _ _), sum_mul_left] at h1
        grind
      generalize sum d (fun j => defect X y pen w j * defect X y pen w j) = G at hG hu
      generalize curvature X pen (defect X y pen w) = C at hC hu
      by_cases h0 : G = 0
      · exact h0
      · have h2 : G / (C + 1) * (C + 1) = G := Rat.div_mul_cancel (by grind)
        have h3 := hu (G / (C + 1))
        have h4 : 0 < G / (C + 1) := by rw [Rat.lt_div_iff (by grind)]; grind
        generalize G / (C + 1) = u at h2 h3 h4
        have h5 : u * u * C = u * (G - u) := by grind
        have h6 := Rat.mul_pos h4 (show 0 < G by grind)
        have h7 := Rat.mul_pos h4 h4
        grind
    rw [sum_eq_zero_iff (fun j => mul_self_nonneg _)] at hz
    exact fun j => mul_self_eq_zero.mp (hz j)
  · intro hw v
    have h1 := ridgeCost_at_solution X y pen w hw v
    have h2 := curvature_nonneg X hpen (fun j => v j - w j)
    grind

/-- With a penalty on every column the minimiser is unique: any other weights cost strictly more.
Python: `reservoir.readouts.RidgeReadout`. -/
theorem minimiser_unique (X : Fin N → Fin d → Rat) (y : Fin N → Rat) {pen : Fin d → Rat}
    (hpen : ∀ j, 0 < pen j) (w : Fin d → Rat) (hw : NormalEquations X y pen w) (v : Fin d → Rat)
    (hv : v ≠ w) : ridgeCost X y pen w < ridgeCost X y pen v := by
  have h1 := ridgeCost_at_solution X y pen w hw v
  have h2 : 0 ≤ sum N (fun t => predict X (fun j => v j - w j) t * predict X (fun j => v j - w j) t) :=
    sum_nonneg (fun t => mul_self_nonneg _)
  have h0 : ∀ j, 0 ≤ pen j * ((v j - w j) * (v j - w j)) :=
    fun j => Rat.mul_nonneg (Rat.le_of_lt (hpen j)) (mul_self_nonneg _)
  have h3 : 0 ≤ sum d (fun j => pen j * ((v j - w j) * (v j - w j))) := sum_nonneg h0
  have h4 : sum d (fun j => pen j * ((v j - w j) * (v j - w j))) ≠ 0 := by
    intro e
    rw [sum_eq_zero_iff h0] at e
    apply hv
    funext j
    have h5 := (Rat.mul_eq_zero.mp (e j)).resolve_left (by have := hpen j; grind)
    have h6 := mul_self_eq_zero.mp h5
    grind
  unfold curvature at h1
  grind

/-! ## A readout next to the baseline that sees the input only

`A` are the columns of the input, `B` those of the state. -/

/-- Input and state columns side by side. -/
def beside (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat) : Fin N → Fin (a + b) → Rat :=
  fun t => join (A t) (B t)

-- The answer of joined columns is the sum of the answers of the parts.
theorem predict_beside (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat) (u : Fin a → Rat)
    (v : Fin b → Rat) (t : Fin N) :
    predict (beside A B) (join u v) t = predict A u t + predict B v t :=
  sum_join_mul (A t) u (B t) v

-- Weights of zero answer zero.
theorem predict_zero (B : Fin N → Fin b → Rat) (t : Fin N) : predict B (fun _ => 0) t = 0 :=
  sum_eq_zero (fun _ => Rat.mul_zero _)

/-- A readout that ignores the state gives, row by row, the answers of the input-only baseline.
Python: `reservoir.gain` (baselines). -/
theorem ignoring_state_predicts_as_baseline (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat)
    (u : Fin a → Rat) : predict (beside A B) (join u (fun _ => 0)) = predict A u :=
  funext (fun t => by rw [predict_beside, predict_zero, Rat.add_zero])

/-- So it has the same score on any rows by any score of the answers: without weight on the state
there is no computation of the reservoir to be credited. Python: `reservoir.gain` (baselines). -/
theorem ignoring_state_scores_as_baseline {α : Type} (score : (Fin N → Rat) → α)
    (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat) (u : Fin a → Rat) :
    score (predict (beside A B) (join u (fun _ => 0))) = score (predict A u) :=
  congrArg score (ignoring_state_predicts_as_baseline A B u)

/-- Weights that ignore the state cost what the input-only weights cost. Python: `reservoir.gain`
(baselines). -/
theorem ridgeCost_ignoring_state (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat)
    (y : Fin N → Rat) (penA u : Fin a → Rat) (penB : Fin b → Rat) :
    ridgeCost (beside A B) y (join penA penB) (join u (fun _ => 0)) = ridgeCost A y penA u := by
  have h1 (i : Fin (a + b)) : join u (fun _ : Fin b => 0) i * join u (fun _ : Fin b => 0) i
      = join (fun i => u i * u i) (fun _ : Fin b => 0) i := by
    unfold join
    split
    · rfl
    · exact Rat.mul_zero 0
  unfold ridgeCost
  rw [ignoring_state_predicts_as_baseline, sum_congr (fun i => by rw [h1]), sum_join_mul,
    sum_eq_zero (f := fun i => penB i * 0) (fun i => Rat.mul_zero _), Rat.add_zero]

/-- On its training rows the best readout with state columns never costs more than any readout of
the input alone, whatever the state columns hold. This is why a gain on the training rows is no
evidence. Python: `reservoir.gain` (baselines). -/
theorem more_columns_never_cost_more (A : Fin N → Fin a → Rat) (B : Fin N → Fin b → Rat)
    (y : Fin N → Rat) {penA : Fin a → Rat} {penB : Fin b → Rat}
    (hpen : ∀ j, 0 ≤ join penA penB j) (w : Fin (a + b) → Rat)
    (hw : NormalEquations (beside A B) y (join penA penB) w) (u : Fin a → Rat) :
    ridgeCost (beside A B) y (join penA penB) w ≤ ridgeCost A y penA u :=
  ridgeCost_ignoring_state A B y penA u penB ▸
    (minimises_iff_normalEquations (beside A B) y hpen w).mpr hw (join u (fun _ => 0))

-- Without a penalty the cost is the squared error.
theorem ridgeCost_no_penalty (X : Fin N → Fin d → Rat) (y : Fin N → Rat) (w : Fin d → Rat) :
    ridgeCost X y (fun _ => 0) w = squaredError (predict X w) y := by
  unfold ridgeCost
  rw [sum_eq_zero (fun j => Rat.zero_mul _), Rat.add_zero]

/-- The same for least squares without a penalty: the squared error on the training rows never
rises when columns are added. Python: `reservoir.gain` (baselines). -/
theorem more_columns_never_worse_on_training_rows (A : Fin N → Fin a → Rat)
    (B : Fin N → Fin b → Rat) (y : Fin N → Rat) (w : Fin (a + b) → Rat)
    (hw : NormalEquations (beside A B) y (fun _ => 0) w) (u : Fin a → Rat) :
    squaredError (predict (beside A B) w) y ≤ squaredError (predict A u) y := by
  have h1 := (minimises_iff_normalEquations (beside A B) y (fun _ => Rat.le_refl) w).mpr hw
    (join u (fun _ => 0))
  rwa [ridgeCost_no_penalty, ridgeCost_no_penalty, ignoring_state_predicts_as_baseline] at h1

/-! ## Examples -/

/-- A column of ones. -/
def ones : Fin 2 → Fin 1 → Rat := fun _ _ => 1

/-- A column that happens to tell the two training rows apart. -/
def noise : Fin 2 → Fin 1 → Rat := fun t _ => t.val

/-- The same column in other rows, where it holds other values. -/
def freshNoise : Fin 2 → Fin 1 → Rat := fun t _ => 1 - t.val

/-- Targets that have nothing to do with the noise: one below and one above two. -/
def target : Fin 2 → Rat := fun t => 1 + 2 * t.val

/-- A column of noise takes the training error from 2 to 0 and the error on fresh rows from 2 to 8,
both readouts being the best on the training rows. Python: `reservoir.gain` (baselines). -/
theorem training_gain_is_no_evidence :
    NormalEquations ones target (fun _ => 0) (fun _ => 2)
      ∧ NormalEquations (beside ones noise) target (fun _ => 0) (fun j => 1 + j.val)
      ∧ squaredError (predict ones (fun _ => 2)) target = 2
      ∧ squaredError (predict (beside ones noise) (fun j => 1 + j.val)) target = 0
      ∧ squaredError (predict (beside ones freshNoise) (fun j => 1 + j.val)) target = 8 := by
  unfold NormalEquations
  decide +kernel

/-- A ridge fit that meets the hypotheses of the theorems. -/
theorem example_ridge : NormalEquations noise target (fun _ => 1 / 2) (fun _ => 2) := by
  unfold NormalEquations
  decide +kernel

example : ridgeCost noise target (fun _ => 1 / 2) (fun _ => 2)
    < ridgeCost noise target (fun _ => 1 / 2) (fun _ => 3) :=
  minimiser_unique noise target (fun _ => by decide +kernel) _ example_ridge _
    (fun e => absurd (congrFun e 0) (by decide +kernel))
example : squaredError (predict (beside ones noise) (fun j => 1 + j.val)) target
    ≤ squaredError (predict ones (fun _ => 2)) target :=
  more_columns_never_worse_on_training_rows ones noise target _
    training_gain_is_no_evidence.2.1 (fun _ => 2)

end Silicon.Readout
