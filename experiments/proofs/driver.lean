import Lean
open Lean

/-!
Elaborates the modules named by its arguments, puts every constant of them through the kernel once more, and says as JSON
what is declared. Every line begins with a word that only the caller knows, and the last one is `done`.

    lean --run driver.lean WORD --allow KIND... --forbid KIND... (--module NAME FILE OLEAN new|reuse IMPORT...)...

Lean runs code while it elaborates, so each module is parsed alone first: one with a command that is not allowed, or with
forbidden syntax anywhere, is refused and not elaborated, whatever a reading of its text made of it.

The WebAssembly build interprets this file without the compiled bodies of generic library functions, so lists are walked
by functions of its own.
-/

namespace Asiclab

structure Job where
  name : Name
  path : String
  olean : String
  reuse : Bool
  imports : List Name

def nameStr : Name → String
  | .anonymous => ""
  | .str .anonymous s => s
  | .str p s => nameStr p ++ "." ++ s
  | .num .anonymous n => n.repr
  | .num p n => nameStr p ++ "." ++ n.repr

def quote (s : String) : String := (Json.str s).compress

def listJson (f : α → String) : List α → String
  | [] => ""
  | [a] => f a
  | a :: l => f a ++ "," ++ listJson f l

def namesJson (l : List Name) : String := "[" ++ listJson (fun n => quote (nameStr n)) l ++ "]"

def toNames : List String → List Name
  | [] => []
  | s :: l => s.toName :: toNames l

def toImports : List Name → List Import
  | [] => []
  | n :: l => { module := n } :: toImports l

def append : List α → List α → List α
  | [], m => m
  | a :: l, m => a :: append l m

def backwards : List α → List α → List α
  | [], acc => acc
  | a :: l, acc => backwards l (a :: acc)

partial def takeImports : List String → List Name → List Name × List String
  | [], acc => (backwards acc [], [])
  | "--module" :: l, acc => (backwards acc [], "--module" :: l)
  | s :: l, acc => takeImports l (s.toName :: acc)

def namesUpTo : List String → NameSet → NameSet
  | [], set => set
  | s :: l, set => if s == "--allow" || s == "--forbid" || s == "--module" then set else namesUpTo l (set.insert s.toName)

/-- The names after a word. -/
def listed (word : String) : List String → NameSet
  | [] => {}
  | s :: l => if s == word then namesUpTo l {} else listed word l

partial def jobs : List String → List Job
  | "--module" :: name :: path :: olean :: mode :: rest =>
    let (imports, rest) := takeImports rest []
    { name := name.toName, path, olean, reuse := mode == "reuse", imports } :: jobs rest
  | _ :: rest => jobs rest
  | [] => []

abbrev Say := String → IO Unit

def severity : MessageSeverity → String
  | .error => "error" | .warning => "warning" | .information => "information"

def sayMessages (say : Say) (module : String) : List Message → IO Unit
  | [] => pure ()
  | m :: l => do
    say <| "{\"type\":\"message\",\"module\":" ++ quote module ++ ",\"line\":" ++ m.pos.line.repr
      ++ ",\"severity\":" ++ quote (severity m.severity) ++ ",\"kind\":" ++ quote (nameStr m.kind)
      ++ ",\"text\":" ++ quote (← m.data.toString) ++ "}"
    sayMessages say module l

mutual
partial def kinds (map : FileMap) (stx : Syntax) (seen : NameSet × List (Name × Nat)) : NameSet × List (Name × Nat) :=
  match stx with
  | .node _ k args =>
    let seen :=
      if seen.1.contains k then seen
      else
        let line := match stx.getPos? with
          | some p => (map.toPosition p).line
          | none => 0
        (seen.1.insert k, (k, line) :: seen.2)
    kindsFrom map args 0 seen
  | _ => seen
partial def kindsFrom (map : FileMap) (args : Array Syntax) (i : Nat) (seen : NameSet × List (Name × Nat)) : NameSet × List (Name × Nat) :=
  if i < args.size then kindsFrom map args (i + 1) (kinds map args[i]! seen) else seen
end

/-- Commands by the kinds of their syntax, those within `in` and `mutual` too, each with its position. -/
partial def commandsOf (stx : Syntax) (acc : List (Name × Option String.Pos.Raw)) : List (Name × Option String.Pos.Raw) :=
  match stx with
  | .node _ k args =>
    if k == `Lean.Parser.Command.in then commandsOf args[2]! (commandsOf args[0]! ((k, stx.getPos?) :: acc))
    else if k == `Lean.Parser.Command.mutual then commandsOf args[1]! ((k, stx.getPos?) :: acc)
    else if k == nullKind then commandsFrom args 0 acc
    else (k, stx.getPos?) :: acc
  | _ => acc
where
  commandsFrom (args : Array Syntax) (i : Nat) (acc : List (Name × Option String.Pos.Raw)) : List (Name × Option String.Pos.Raw) :=
    if i < args.size then commandsFrom args (i + 1) (commandsOf args[i]! acc) else acc

def lineAt (map : FileMap) : Option String.Pos.Raw → Nat
  | some p => (map.toPosition p).line
  | none => 0

def unwanted (map : FileMap) (allow : NameSet) : List (Name × Option String.Pos.Raw) → List (Name × Nat)
  | [] => []
  | (k, pos) :: l => if allow.contains k then unwanted map allow l else (k, lineAt map pos) :: unwanted map allow l

def chosen (forbid : NameSet) : List (Name × Nat) → List (Name × Nat)
  | [] => []
  | (k, line) :: l => if forbid.contains k then (k, line) :: chosen forbid l else chosen forbid l

/-- What of a text is refused, by the grammar of the core library alone, and what its parser says: half a command has a
kind that its author did not write. -/
partial def refusals (ictx : Parser.InputContext) (env : Environment) (allow forbid : NameSet)
    (pst : Parser.ModuleParserState) (msgs : MessageLog) (acc : List (Name × Nat)) : List (Name × Nat) × MessageLog :=
  let (stx, pst, msgs) := Parser.parseCommand ictx { env, options := {} } pst msgs
  let (_, found) := kinds ictx.fileMap stx ({}, [])
  let acc := append (append (unwanted ictx.fileMap allow (commandsOf stx [])) (chosen forbid found)) acc
  if Parser.isTerminalCommand stx then (acc, msgs) else refusals ictx env allow forbid pst msgs acc

def sayRefusals (say : Say) (module : String) : List (Name × Nat) → IO Unit
  | [] => pure ()
  | (k, line) :: l => do
    say <| "{\"type\":\"refused\",\"module\":" ++ quote module ++ ",\"line\":" ++ line.repr ++ ",\"kind\":" ++ quote (nameStr k) ++ "}"
    sayRefusals say module l

/-- Elaborates a module, unless it is refused. -/
def elaborate (say : Say) (allow forbid : NameSet) (job : Job) : IO Bool := do
  let start ← IO.monoMsNow
  say <| "{\"type\":\"begin\",\"module\":" ++ quote (nameStr job.name) ++ "}"
  let text ← IO.FS.readFile job.path
  let map := FileMap.ofString text
  let ictx : Parser.InputContext :=
    { inputString := text, fileName := job.path, fileMap := map, endPos := text.rawEndPos, endPos_valid := by simp }
  let env ← importModules ({ module := `Init } :: toImports job.imports).toArray {} (loadExts := true) (level := .private)
  let (_, pst, msgs) ← Parser.parseHeader ictx
  let (refused, said) := refusals ictx env allow forbid pst {} []
  match refused with
  | [] => pure ()
  | _ =>
    sayRefusals say (nameStr job.name) refused
    sayMessages say (nameStr job.name) said.toList
    return false
  let env := env.setMainModule job.name
  let st ← Elab.IO.processCommands ictx pst (Elab.Command.mkState env msgs {})
  sayMessages say (nameStr job.name) st.commandState.messages.toList
  let (_, found) := kindsFrom map st.commands 0 ({}, [])
  say <| "{\"type\":\"kinds\",\"module\":" ++ quote (nameStr job.name) ++ ",\"kinds\":["
    ++ listJson (fun (k, line) => "[" ++ quote (nameStr k) ++ "," ++ Nat.repr line ++ "]") found ++ "]}"
  writeModule st.commandState.env job.olean
  say <| "{\"type\":\"module\",\"module\":" ++ quote (nameStr job.name) ++ ",\"ms\":" ++ ((← IO.monoMsNow) - start).repr ++ "}"
  return true

def anyOf (set : NameSet) : List Name → Bool
  | [] => false
  | n :: l => set.contains n || anyOf set l

/-- The modules that there are in the end: a refused one is not, nor one that imports it. -/
def elaborateAll (say : Say) (allow forbid : NameSet) (refused : NameSet) : List Job → IO (List Job)
  | [] => pure []
  | job :: l => do
    let there ← if anyOf refused job.imports then pure false
      else if job.reuse then pure true
      else elaborate say allow forbid job
    let rest ← elaborateAll say allow forbid (if there then refused else refused.insert job.name) l
    return if there then job :: rest else rest

partial def constantsFrom (cs : Array Name) (i : Nat) (acc : List Name) : List Name :=
  if i < cs.size then constantsFrom cs (i + 1) (cs[i]! :: acc) else backwards acc []

partial def constantsOf (env : Environment) (module : Name) : List Name :=
  match env.getModuleIdx? module with
  | none => []
  | some idx => constantsFrom env.header.moduleData[idx.toNat]!.constNames 0 []

def insertAll (set : NameSet) : List Name → NameSet
  | [] => set
  | n :: l => insertAll (set.insert n) l

def keepIn (set : NameSet) : List Name → List Name
  | [] => []
  | n :: l => if set.contains n then n :: keepIn set l else keepIn set l

/-! ## Replay -/

structure Replay where
  env : Environment
  done : NameSet := {}

def usedIn (e : Expr) : List Name := e.getUsedConstants.toList

def ctorTypes (env : Environment) : List Name → List Constructor
  | [] => []
  | n :: l => match env.find? n with
    | some ci => { name := n, type := ci.type } :: ctorTypes env l
    | none => ctorTypes env l

def indTypes (env : Environment) : List Name → List InductiveType
  | [] => []
  | n :: l => match env.find? n with
    | some (.inductInfo v) => { name := n, type := v.type, ctors := ctorTypes env v.ctors } :: indTypes env l
    | _ => indTypes env l

def constructorsOf (env : Environment) : List Name → List Name
  | [] => []
  | n :: l => match env.find? n with
    | some (.inductInfo v) => append v.ctors (constructorsOf env l)
    | _ => constructorsOf env l

def typesOf (env : Environment) : List Name → List Name
  | [] => []
  | n :: l => match env.find? n with
    | some ci => append (usedIn ci.type) (typesOf env l)
    | none => typesOf env l

def sameRules : List RecursorRule → List RecursorRule → Bool
  | [], [] => true
  | a :: l, b :: m => a.ctor == b.ctor && a.nfields == b.nfields && a.rhs == b.rhs && sameRules l m
  | _, _ => false

/-- Does the kernel's own constant agree with the one in the module? -/
def same (a b : ConstantInfo) : Bool :=
  match a, b with
  | .ctorInfo x, .ctorInfo y => x.type == y.type && x.induct == y.induct && x.cidx == y.cidx && x.numParams == y.numParams && x.numFields == y.numFields
  | .recInfo x, .recInfo y => x.type == y.type && x.k == y.k && x.numParams == y.numParams && x.numMotives == y.numMotives
      && x.numMinors == y.numMinors && x.numIndices == y.numIndices && sameRules x.rules y.rules
  | _, _ => false

def violation (say : Say) (kind : String) (n : Name) (text : String) : IO Unit :=
  say <| "{\"type\":\"violation\",\"kind\":" ++ quote kind ++ ",\"name\":" ++ quote (nameStr n) ++ ",\"text\":" ++ quote text ++ "}"

def endsUnsafeRec : Name → Bool
  | .str _ s => s == "_unsafe_rec"
  | _ => false

mutual
partial def replay (say : Say) (env : Environment) (project : NameSet) (st : Replay) (n : Name) : IO Replay := do
  if st.done.contains n || !project.contains n then return st
  let st := { st with done := st.done.insert n }
  match env.find? n with
  | none => violation say "kernel" n "is in no environment"; return st
  | some ci =>
    match ci with
    | .axiomInfo v =>
      violation say "axiom" n "is a new axiom"
      let st ← replayAll say env project st (usedIn v.type)
      add say st n (.axiomDecl v)
    | .defnInfo v =>
      match v.safety with
      | .unsafe =>
        unless endsUnsafeRec n do violation say "unsafe" n "is declared unsafe: the kernel does not check it"
        return st
      | .partial =>
        -- what the compiler keeps of a recursive definition; a partial one is opaque to the logic, and reported as that
        unless endsUnsafeRec n do violation say "partial" n "is declared partial: the kernel does not check it"
        return st
      | .safe =>
        let st ← replayAll say env project st (append (usedIn v.type) (usedIn v.value))
        add say st n (.defnDecl v)
    | .thmInfo v =>
      let st ← replayAll say env project st (append (usedIn v.type) (usedIn v.value))
      add say st n (.thmDecl v)
    | .opaqueInfo v =>
      violation say (if v.isUnsafe then "unsafe" else "opaque") n "is declared opaque or partial: nothing can be known of its value"
      let st ← replayAll say env project st (append (usedIn v.type) (usedIn v.value))
      add say st n (.opaqueDecl v)
    | .quotInfo _ => violation say "kernel" n "declares quotients"; return st
    | .inductInfo v =>
      if v.isUnsafe then
        violation say "unsafe" n "is declared unsafe"
        return st
      let done := insertAll st.done v.all
      let st ← replayAll say env project { st with done } (append (typesOf env v.all) (typesOf env (constructorsOf env v.all)))
      add say st n (.inductDecl v.levelParams v.numParams (indTypes env v.all) false)
    | .ctorInfo v =>
      let st ← replay say env project st v.induct
      compare say st n ci
    | .recInfo v =>
      let st ← replayAll say env project st v.all
      compare say st n ci
partial def replayAll (say : Say) (env : Environment) (project : NameSet) (st : Replay) : List Name → IO Replay
  | [] => pure st
  | n :: l => do
    let st ← replay say env project st n
    replayAll say env project st l
partial def add (say : Say) (st : Replay) (n : Name) (decl : Declaration) : IO Replay := do
  match Environment.addDeclCore st.env 0 decl none true with
  | .ok env => return { st with env }
  | .error ex =>
    violation say "kernel" n ("the kernel refuses it: " ++ (← (ex.toMessageData {}).toString))
    return st
partial def compare (say : Say) (st : Replay) (n : Name) (ci : ConstantInfo) : IO Replay := do
  match st.env.find? n with
  | some other => unless same ci other do violation say "kernel" n "differs from what the kernel makes of its type"
  | none => violation say "kernel" n "the kernel does not make it"
  return st
end

/-! ## What is declared -/

def kindOf : ConstantInfo → String
  | .axiomInfo _ => "axiom" | .defnInfo _ => "def" | .thmInfo _ => "theorem" | .opaqueInfo _ => "opaque"
  | .quotInfo _ => "quot" | .inductInfo _ => "inductive" | .ctorInfo _ => "constructor" | .recInfo _ => "recursor"

def allowed (n : Name) : Bool := n == `propext || n == `Classical.choice || n == `Quot.sound
def compilerAxiom (n : Name) : Bool :=
  n == `sorryAx || n == `Lean.ofReduceBool || n == `Lean.ofReduceNat || n == `Lean.trustCompiler

/-- Axioms that count: a name of the bare core is a theorem whose proof this build does not carry, unless it is one of the known ones. -/
def axiomsThatCount (env0 : Environment) : List Name → List Name
  | [] => []
  | n :: l =>
    if allowed n || compilerAxiom n || (env0.find? n).isNone then n :: axiomsThatCount env0 l
    else axiomsThatCount env0 l

def axiomsOf (env : Environment) (n : Name) : List Name :=
  ((CollectAxioms.collect n).run env |>.run {}).2.axioms.toList

partial def conclusion : Expr → Expr
  | .forallE _ _ b _ => conclusion b
  | .mdata _ e => conclusion e
  | .letE _ _ _ b _ => conclusion b
  | e => e

def withHead (head : Expr) : Expr → Expr
  | .app f a => .app (withHead head f) a
  | _ => head

/-- With the definition of the project's that it begins with unfolded, if it does. -/
def unfolded (env : Environment) (project : NameSet) (e : Expr) : Option Expr :=
  match e.getAppFn with
  | .const c levels =>
    if project.contains c then
      match env.find? c with
      | some (.defnInfo v) => some (withHead (v.value.instantiateLevelParams v.levelParams levels) e).headBeta
      | _ => none
    else none
  | _ => none

/-- What an instance is an instance of, with the project's own definitions unfolded: `abbrev Order := LE Nat` is `LE Nat`. -/
partial def instanceOf (env : Environment) (project : NameSet) (type : Expr) : Expr :=
  let result := conclusion type
  match unfolded env project result with
  | some e => instanceOf env project e
  | none => result

/-- Can nothing be a proof or a member of it, by its own words or those of the project's definitions? -/
partial def isAbsurd (env : Environment) (project : NameSet) (e : Expr) : Bool :=
  match e with
  | .mdata _ e => isAbsurd env project e
  | .app (.app (.const `And _) a) b => isAbsurd env project a || isAbsurd env project b
  | e =>
    e.isConstOf `False || e.isConstOf `Empty || e.isConstOf `PEmpty || match unfolded env project e with
      | some e => isAbsurd env project e
      | none => false

/-- Does a statement assume what cannot be, or conclude what is so anyway? -/
partial def isVacuous (env : Environment) (project : NameSet) (e : Expr) : Bool :=
  match e with
  | .forallE _ d b _ => isAbsurd env project d || isVacuous env project b
  | .letE _ _ _ b _ => isVacuous env project b
  | .mdata _ e => isVacuous env project e
  | e => e.isConstOf `True || match unfolded env project e with
    | some e => isVacuous env project e
    | none => false

/-- The project's types in an instance. A definition does not count, as it may be a core type under another name; but
whether a proposition is decidable has one answer only, so there it may be anything of the project's. -/
def ownTypes (env : Environment) (head : String) (project : NameSet) : List Name → List Name
  | [] => []
  | n :: l =>
    let own := project.contains n && (head == "Decidable" || match env.find? n with
      | some (.inductInfo _) => true
      | _ => false)
    if own then n :: ownTypes env head project l else ownTypes env head project l

def explicitly : Options :=
  (((((((({} : Options).set `pp.privateNames true).set `pp.explicit true).set `pp.notation false).set `pp.fullNames true).set `pp.deepTerms true).set
    `pp.fieldNotation false).set `pp.structureInstances false).set `pp.maxSteps (1000000 : Nat)

def readable : Options := (({} : Options).set `pp.deepTerms true).set `pp.maxSteps (1000000 : Nat)

/-- A signature; none where Lean cannot print it. -/
def printed (env : Environment) (options : Options) (n : Name) : IO (Option String) := do
  let cst ← IO.mkRef ({ env := env } : Core.State)
  let mst ← IO.mkRef ({} : Meta.State)
  let ctx : Core.Context := { fileName := "", fileMap := FileMap.ofString "", options := options, maxHeartbeats := 0 }
  let signature ← EIO.toBaseIO ((PrettyPrinter.ppSignature n) {} mst ctx cst)
  return match signature with
    | .ok s => some (s.fmt.pretty 100)
    | .error _ => none

/-- Every proper suffix of a name: what it would be called inside its namespaces. -/
def suffixes : Name → List Name
  | .anonymous => []
  | .num _ _ => []
  | .str p s => go p (.str .anonymous s)
where
  go : Name → Name → List Name
    | .anonymous, _ => []
    | .num _ _, acc => [acc]
    | .str p s, acc => acc :: go p (prepend s acc)
  prepend (s : String) : Name → Name
    | .anonymous => .str .anonymous s
    | .str .anonymous t => .str (.str .anonymous s) t
    | .str p t => .str (prepend s p) t
    | .num p k => .num (prepend s p) k

def firstKnown (env0 : Environment) : List Name → Option Name
  | [] => none
  | n :: l => if (env0.find? n).isSome then some n else firstKnown env0 l

def describe (say : Say) (env env0 : Environment) (project : NameSet) (module n : Name) : IO Unit := do
  match env.find? n with
  | none => pure ()
  | some ci =>
    let hidden := isPrivateName n
    let name := (privateToUserName? n).getD n
    let internal := name.isInternalDetail
    let value := match ci with
      | .defnInfo v => some v.value
      | .opaqueInfo v => some v.value
      | _ => none
    let ctors := match ci with
      | .inductInfo v => v.ctors
      | _ => []
    let valueUses := match value with
      | some v => usedIn v
      | none => ctors
    let valueHash := match value with
      | some v => v.hash.toNat
      | none => 0
    let axioms := axiomsThatCount env0 (axiomsOf env n)
    let isTheorem := match ci with
      | .thmInfo _ => true
      | _ => false
    let shown := isTheorem && !internal
    let statement ← if internal then pure (some "") else printed env readable n
    let explicit ← if internal then pure (some "") else printed env explicitly n
    if statement.isNone || explicit.isNone then violation say "statement" n "has a statement that Lean cannot print"
    let doc ← if internal then pure none else findDocString? env n
    let result := instanceOf env project ci.type
    let head := match result.getAppFn with
      | .const c _ => if isClass env0 c then nameStr c else ""
      | _ => ""
    let shadow := match if internal then none else firstKnown env0 (suffixes name) with
      | some c => nameStr c
      | none => ""
    say <| "{\"type\":\"constant\",\"module\":" ++ quote (nameStr module) ++ ",\"name\":" ++ quote (nameStr name)
      ++ ",\"kind\":" ++ quote (kindOf ci) ++ ",\"private\":" ++ (if hidden then "true" else "false")
      ++ ",\"internal\":" ++ (if internal then "true" else "false")
      ++ ",\"statement\":" ++ quote (statement.getD "") ++ ",\"explicit\":" ++ quote (explicit.getD "")
      ++ ",\"doc\":" ++ (match doc with | some d => quote d | none => "null")
      ++ ",\"axioms\":" ++ namesJson axioms
      ++ ",\"uses\":" ++ namesJson (keepIn project (usedIn ci.type))
      ++ ",\"value_uses\":" ++ namesJson (keepIn project valueUses)
      ++ ",\"key\":" ++ quote (nameStr n)
      ++ ",\"hash\":" ++ quote (ci.type.hash.toNat.repr ++ "-" ++ valueHash.repr)
      ++ ",\"class\":" ++ quote head ++ ",\"class_uses\":" ++ namesJson (ownTypes env head project (usedIn result))
      ++ ",\"shadows\":" ++ quote shadow
      ++ ",\"vacuous\":" ++ (if shown && isVacuous env project ci.type then "true" else "false") ++ "}"

def describeAll (say : Say) (env env0 : Environment) (project : NameSet) (module : Name) : List Name → IO Unit
  | [] => pure ()
  | n :: l => do
    describe say env env0 project module n
    describeAll say env env0 project module l

def projectConstants (env : Environment) : List Job → List Name
  | [] => []
  | job :: l => append (constantsOf env job.name) (projectConstants env l)

def describeModules (say : Say) (env env0 : Environment) (project : NameSet) : List Job → IO Unit
  | [] => pure ()
  | job :: l => do
    describeAll say env env0 project job.name (constantsOf env job.name)
    describeModules say env env0 project l

def jobNames : List Job → List Name
  | [] => []
  | job :: l => job.name :: jobNames l

def took (say : Say) (step : String) (start : Nat) : IO Nat := do
  let now ← IO.monoMsNow
  say <| "{\"type\":\"step\",\"step\":" ++ quote step ++ ",\"ms\":" ++ (now - start).repr ++ "}"
  return now

def check (say : Say) (allow forbid : NameSet) (list : List Job) : IO Unit := do
  let start ← IO.monoMsNow
  let list ← elaborateAll say allow forbid {} list
  say "{\"type\":\"begin\",\"module\":\"\"}"
  let start ← took say "elaborate" start
  let env ← importModules ({ module := `Init } :: toImports (jobNames list)).toArray {} (loadExts := true) (level := .private)
  let env0 ← importModules #[{ module := `Init }] {} (loadExts := true) (level := .private)
  let start ← took say "import" start
  let constants := projectConstants env list
  let project := insertAll {} constants
  let _ ← replayAll say env project { env := env0 } constants
  let start ← took say "replay" start
  describeModules say env env0 project list
  let _ ← took say "print" start

end Asiclab

public def main (arguments : List String) : IO UInt32 := do
  match arguments with
  | nonce :: rest =>
    let say : Asiclab.Say := fun text => IO.println (nonce ++ text)
    say <| "{\"type\":\"lean\",\"version\":" ++ Asiclab.quote Lean.versionString ++ "}"
    -- a thread of its own: the stack of the main one is too small to replay a kernel evaluation
    let allow := Asiclab.listed "--allow" rest
    let forbid := Asiclab.listed "--forbid" rest
    let task ← IO.asTask (prio := .dedicated) (Asiclab.check say allow forbid (Asiclab.jobs rest))
    match task.get with
    | .ok _ => say "{\"type\":\"done\"}"
    | .error e => say <| "{\"type\":\"failed\",\"text\":" ++ Asiclab.quote e.toString ++ "}"
    (← IO.getStdout).flush
    IO.Process.exit 0
  | [] => IO.Process.exit 2
