/-! Statements under a false name. -/
noncomputable section
namespace Silicon.Cheats.Names

instance (priority := high) : LT Nat := ⟨fun _ _ => True⟩ -- instance
theorem less : (3 : Nat) < 2 := trivial

@[reducible] def otherLE : LE Nat := ⟨fun _ _ => True⟩ -- instance
attribute [local instance] otherLE
theorem at_most : (3 : Nat) ≤ 2 := trivial

local instance (priority := high) evilAdd : HAdd Nat Nat Nat := ⟨fun _ _ => 5⟩ -- instance
instance (priority := high) evilLit : OfNat Nat 7 := ⟨8⟩ -- instance
instance : Coe Nat Int := ⟨fun _ => 0⟩ -- instance
instance {α : Type} : BEq α := ⟨fun _ _ => true⟩ -- instance
abbrev Plain := Nat
instance (priority := high) : HMul Plain Plain Plain := ⟨fun _ _ => 5⟩ -- instance
abbrev Order := LT Int
instance (priority := high) : Order := ⟨fun _ _ => True⟩ -- instance
class Ordered extends LE Int where -- instance
instance (priority := high) _hidden : HSub Nat Nat Nat := ⟨fun _ _ => 5⟩ -- name
def match_1 : Nat := 1 -- name

structure Rat where -- shadow
  value : Nat
def Nat.lt (_ _ : Nat) : Prop := True -- shadow
abbrev max (a _ : Nat) : Nat := a -- shadow
def False : Prop := True -- shadow
inductive Eq (a : Nat) : Nat → Prop -- shadow
  | any (b : Nat) : Eq a b
abbrev _root_.LE.less (a b : Nat) : Prop := a < b -- namespace
theorem _root_.escaped : True ∨ True := .inl trivial -- namespace

theorem nothing (h : _root_.False) : (1 : Nat) = 2 := h.elim -- vacuous
theorem nothing_either : True := trivial -- vacuous
def Absurd : Prop := 1 = 1 ∧ _root_.False
theorem nothing_more (h : Absurd) : (1 : Nat) = 2 := h.2.elim -- vacuous
theorem nothing_there (x : Empty) : (1 : Nat) = 2 := nomatch x -- vacuous
def Claim (_ : Nat) : Prop := _root_.True
theorem nothing_claimed (n : Nat) : Claim n := trivial -- vacuous
def picked {α : Type} (_ : Prop → α → Prop) (x : α) : α := x
def chosen := picked autoParam (dbgTrace "out of turn" fun _ => default)
theorem unprintable (h : autoParam (1 = 1) chosen) : 1 = 1 := h -- statement
variable (absurd : _root_.False)
include absurd
theorem quietly_nothing : (1 : Nat) = 3 := absurd.elim -- vacuous
omit absurd

end Silicon.Cheats.Names

theorem outside : (1 : Nat) = 1 := rfl -- namespace
